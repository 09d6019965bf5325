"""The report of diagnostics: what a posterior says about itself, as numbers first and pictures second."""

from .page import diagnosis_page
from .run import Diagnosis, DiagnosisRun, diagnose

__all__ = ["Diagnosis", "DiagnosisRun", "diagnose", "diagnosis_page"]
