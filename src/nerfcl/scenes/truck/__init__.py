"""The built-in scene: what the truck is built from, its triangles, cameras around it, and its rendering by Mitsuba."""
