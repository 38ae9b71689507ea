"""From teachers to estimated correspondences and to the targets of stage 2."""
