"""Measurements, as ratios to the raw limits of the machine they run on: absolute times mean nothing elsewhere.

python -m bench                all cases, a table, and bench/results.json
python -m bench library        those whose names begin so
"""
