"""Everything mode in the viewer: proposals, and deciding about them."""
