"""Build Debian images from small configs."""
