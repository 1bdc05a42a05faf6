// Does nothing, after all in front of it: where kernels are timed, the end of a list.

extern "C" __global__ void stamp() { begin(); }
