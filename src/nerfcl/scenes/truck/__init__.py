"""The built-in scene: the parts of the truck, its meshes, cameras around it, and rendering with Mitsuba."""
