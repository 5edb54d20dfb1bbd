"""One file a family of image formats: how it is read, checked, and stored again."""
