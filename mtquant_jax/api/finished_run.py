"""A run directory -> the finished training in it, its evaluation, and their tables as DataFrames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mtquant_jax.api.session import keep_compiled_programs, log
from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.evaluation import Evaluation
from mtquant_jax.evaluation.evaluation_bars import prepare_evaluation_bars
from mtquant_jax.evaluation.tables import equity_table, positions_table, to_frame, trades_table
from mtquant_jax.evaluation.trials import evaluate_as_trial
from mtquant_jax.reports.csv_files import write_files
from mtquant_jax.reports.html.evaluation import write_report
from mtquant_jax.reports.html.page import require_plotly
from mtquant_jax.runs.trained_run import TrainedRun, open_run, restore_all
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.statistics.intervals import check_draws
from mtquant_jax.storage.paths import evaluation_dir
from mtquant_jax.types import Bars

if TYPE_CHECKING:
    import pandas as pd


def load_run(run_dir: str | Path) -> Run:
    """Open a finished training in its run directory.

    Raises:
        UserError: there is no run, it has not been finished, or its files do not belong together.
    """
    return Run(open_run(Path(run_dir)))


class Run:
    """A finished training in its run directory, and the last evaluation of it.

    The tables are of the last `evaluate` of this object; without one, they evaluate the test split first.
    """

    def __init__(self, trained: TrainedRun) -> None:
        self._trained = trained
        self._evaluation: Evaluation | None = None

    def __repr__(self) -> str:
        phases = ", ".join(str(phase) for phase in self.results)
        return f"Run({str(self.run_dir)!r}, phases {phases}, {self._trained.market['description']})"

    @property
    def run_dir(self) -> Path:
        """The directory."""
        return self._trained.paths.run_dir

    @property
    def config(self) -> TrainConfig:
        """The settings."""
        return self._trained.config

    @property
    def results(self) -> dict[int, dict[str, Any]]:
        """The results of every finished phase, as in its JSON file."""
        return self._trained.results

    @property
    def summary(self) -> dict[str, Any]:
        """The summary of the training, as in its JSON file."""
        return self._trained.summary

    def evaluate(
        self,
        split: Literal["test", "validation", "train", "all"] = "test",
        *,
        data_dir: str | Path | None = None,
        bars: Bars | None = None,
        initial_capital: float | None = None,
        account_currency: str | None = None,
        draws: int = 1000,
    ) -> Evaluation:
        """Trade the run's policies in whole lots on bars of a split, as ``mtquant-jax evaluate`` does.

        The evaluation is counted in the run directory: the best of many trials is worth less than it looks.

        Args:
            split: a split of the training by its times (test reaches to the last bar there is), or all bars.
            data_dir: bar files; None: the bars of the training.
            bars: of `load_bars`, in the place of files.
            initial_capital: of the account that trades, in its currency; None: that of the training.
            account_currency: of the account that trades; None: that of the training.
            draws: of the bootstrap behind every interval.

        Returns:
            The evaluation; its ``metrics`` hold every number and the verdict.

        Raises:
            UserError: the bars do not fit the run, or the extra eval is missing.
        """
        if data_dir is not None and bars is not None:
            raise UserError("Give either data_dir or bars, not both")
        check_draws(draws)
        keep_compiled_programs()
        folder = None if data_dir is None else str(data_dir)
        trained = self._trained.on_account(initial_capital, account_currency)
        judged = prepare_evaluation_bars(trained, folder, split, bars)
        evaluation = evaluate_as_trial(trained, judged, restore_all(trained, judged.market), draws)
        log((*evaluation.metrics.warnings, *evaluation.metrics.bars.notices))
        self._evaluation = evaluation
        return evaluation

    def metrics(self) -> pd.DataFrame:
        """Metrics by book: the portfolio phase by phase, every specialist alone, and the baselines."""
        return self._evaluated().metrics.to_frame()

    def equity(self) -> pd.DataFrame:
        """Equity of every book in account currency at each bar's close, by the bar's open time (UTC)."""
        return to_frame(equity_table(self._evaluated())).set_index("time")

    def trades(self) -> pd.DataFrame:
        """Trades of the last portfolio and of every specialist alone; money in account currency."""
        return to_frame(trades_table(self._evaluated()))

    def positions(self) -> pd.DataFrame:
        """Lots and signed exposure / equity of the last portfolio at each bar's close, path by path."""
        return to_frame(positions_table(self._evaluated())).set_index(["path", "time"])

    def write_report(self, folder: str | Path | None = None) -> Path:
        """Write report, metrics and tables as ``mtquant-jax evaluate`` does, and return the path of ``report.html``.

        Args:
            folder: that receives them; None: ``evaluation`` in the run directory.

        Raises:
            UserError: the folder cannot be written, or the extra eval is missing.
        """
        require_plotly()
        evaluation = self._evaluated()
        path = (evaluation_dir(self._trained.paths) if folder is None else Path(folder)) / "report.html"
        write_files(evaluation, path.parent)
        write_report(evaluation, path)
        return path

    def _evaluated(self) -> Evaluation:
        return self._evaluation or self.evaluate()
