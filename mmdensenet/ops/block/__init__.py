"""The dense block: the reference, the fused block, and the plan that decides which of them computes."""
