"""What a training leaves for the eye: learning curves as pictures, and for TensorBoard."""
