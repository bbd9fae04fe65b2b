"""RDNet's stage: the reference, the buffered stage, and the contract that decides which of them computes."""
