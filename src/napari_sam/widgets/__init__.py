"""What the user sees: Qt and magicgui; shows the controller's state, owns none."""
