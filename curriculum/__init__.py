"""Sort images by difficulty, compare people with a model, train in that order, see what is still wrong."""
