"""3D-aware face completion: the method of 3DFaceFill in torch and numpy."""
