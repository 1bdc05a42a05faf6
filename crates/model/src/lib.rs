//! The forward pass of DeepSeek V4, written once.
