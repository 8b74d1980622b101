"""Rows become figures, and figures with plain words one page."""

from glassesjax.report.canvas import to_svg as to_svg
from glassesjax.report.figures import collapse_figure as collapse_figure
from glassesjax.report.figures import equality_figure as equality_figure
from glassesjax.report.generate_page import generate_page as generate_page
from glassesjax.report.generate_sentences import generate_headlines as generate_headlines
from glassesjax.report.influence_figures import layers_figure as layers_figure
from glassesjax.report.influence_figures import profile_figure as profile_figure
from glassesjax.report.influence_page import influence_page as influence_page
from glassesjax.report.influence_sentences import influence_headlines as influence_headlines
from glassesjax.report.overview import collapse_figures as collapse_figures
from glassesjax.report.overview import overview_figure as overview_figure
from glassesjax.report.page import collapse_page as collapse_page
from glassesjax.report.run_collapse import run_collapse as run_collapse
from glassesjax.report.run_generate import run_generate as run_generate
from glassesjax.report.run_influence import run_influence as run_influence
from glassesjax.report.run_study import Opened as Opened
from glassesjax.report.run_study import Study as Study
from glassesjax.report.run_study import run_study as run_study
from glassesjax.report.sentences import headlines as headlines
