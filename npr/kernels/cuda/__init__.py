"""CUDA kernels for the CuPy backend: sources (*.cu), and a Python module beside each that launches
them. A launch takes the arguments of the kernel's other implementations (npr.kernels.jit.Kernel).

Importing this package imports neither CuPy nor a compiler.
"""
