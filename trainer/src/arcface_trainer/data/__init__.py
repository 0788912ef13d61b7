"""From the images of a training set to the batches of a rank."""
