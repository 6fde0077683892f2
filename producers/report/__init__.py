"""The report of a load test: what lanes measure, what it comes to, what it costs, and one page that shows it.

Measuring (`histogram`, `intervals`, `measures`) needs NumPy alone and runs beside the delivery. The page (`plots`,
`page`) needs Matplotlib and Jinja and runs once, at the end: import it late.
"""
