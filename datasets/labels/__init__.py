"""Labels of images: float vectors with a name for each value, from what lies beside images."""
