// Compiled to see whether sources can be compiled here.
extern "C" __global__ void probe(real *x) { x[0] = 1; }
