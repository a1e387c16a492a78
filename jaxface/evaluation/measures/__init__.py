"""Measures: functions of scores, labels or ranks."""
