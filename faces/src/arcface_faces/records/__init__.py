"""Records of images as MXNet packs them: `train.rec`, `train.idx`, `property`. Sees images."""
