"""The report of diagnostics: how far posteriors can be trusted, in numbers and pictures."""

from .diagnose_fit import Diagnosis, DiagnosisRun, diagnose
from .diagnosis_report import build_diagnosis_report

__all__ = ["Diagnosis", "DiagnosisRun", "build_diagnosis_report", "diagnose"]
