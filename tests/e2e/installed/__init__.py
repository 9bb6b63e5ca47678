"""Tests of the operator as the chart installs it, on two nodes: it is installed once for the whole folder."""
