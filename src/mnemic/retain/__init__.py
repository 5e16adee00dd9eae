"""What is kept when the budget is full: each rule gives every trace a keep-score, the lowest go first.

One file per rule, each with one pure function `keep(traces, now) -> [n] float64`.
"""
