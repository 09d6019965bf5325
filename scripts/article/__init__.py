"""The worked example: everything that an article of 2018 showed, reproduced and compared with Keras."""

from .article_fits import run_article
from .article_report import build_article_report, scores_as_text
from .article_results import ArticleRun
from .methods import article_recipe

__all__ = ["ArticleRun", "article_recipe", "build_article_report", "run_article", "scores_as_text"]
