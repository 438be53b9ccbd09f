"""The sensitivity scan: every layer compressed alone, by several methods at several levels."""

from shrinkscope.analysis.scan.records import ScanCost, ScanRow, ScanSettings
from shrinkscope.analysis.scan.result import Scan
from shrinkscope.analysis.scan.scan import scan

__all__ = ["Scan", "ScanCost", "ScanRow", "ScanSettings", "scan"]
