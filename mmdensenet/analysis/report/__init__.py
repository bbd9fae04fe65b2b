"""The report on a trained model: metrics with intervals, charts, and one page that holds them all.

:func:`mmdensenet.apis.report.make_report` puts them together.
"""
