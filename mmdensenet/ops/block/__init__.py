"""The dense block: the reference, the fused block, and the plan that says which of them computes."""
