"""The networks: front ends, backbones, text encoders, and the dual encoder made of them."""
