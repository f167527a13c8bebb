"""Projects in the viewer: each change to disk, saving, opening, recovering."""
