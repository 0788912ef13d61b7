"""Networks that embed images, by what they are stored in."""
