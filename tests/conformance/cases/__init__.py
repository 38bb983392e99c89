"""The cases of the differential suite, a file for each area."""
