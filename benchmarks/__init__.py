"""Side-by-side measurements of DenseNets: time, memory and the machine's limit. Never tests, and not installed.

``python -m benchmarks`` measures whole models beside their peers, ``python -m benchmarks.depth`` one dense block
against its depth, ``python -m benchmarks.machine`` the machine; ``python -m benchmarks.traffic`` prints the memory
traffic that a DenseNet needs. docs/benchmarks.md explains the columns.
"""
