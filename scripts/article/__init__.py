"""The worked example: what an article of 2018 showed, remade and compared with Keras."""

from .methods import article_recipe
from .page import article_page, scores_as_text
from .results import ArticleRun
from .run import run_article

__all__ = ["ArticleRun", "article_page", "article_recipe", "run_article", "scores_as_text"]
