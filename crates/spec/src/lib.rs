//! The facts of the DeepSeek V4 family: shape, layer kinds, tensor names and dimensions.
