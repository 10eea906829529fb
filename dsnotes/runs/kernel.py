"""Executes one notebook in one kernel and reports progress: papermill's engine, with a time limit for the whole
notebook and a record of what the kernel used.

It uses what nbclient and papermill offer: the hook before a cell, a cell's messages, the loop over cells. Only the end
of a kernel is our own code (`async_end`). Of nbclient's two ways, "graceful" interrupts a kernel and sends the shutdown
request at once, and ipykernel then prints errors; "immediate" kills it.
"""

from __future__ import annotations

import ast
import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dsnotes.runs.source import RefusedError
from dsnotes.safety.quick_imports import import_notebook_libraries, quick_imports

Tell = Callable[[str], object]


def execute(
    notebook: dict,
    output: Path,
    *,
    cwd: Path,
    environment: dict[str, str],
    timeout: float | None = None,
    tell: Tell | None = None,
    refusal: str = "",
) -> tuple[Any, dict]:
    """The executed notebook, saved after every cell, and the kernel's usage; a failed cell stops it without raising.

    The kernel evaluates `refusal` before the first cell; a text that is not empty is a `RefusedError`.
    """
    with quick_imports():
        import_notebook_libraries()
        import nbformat
        from jupyter_client.kernelspec import NoSuchKernel
        from papermill.clientwrap import PapermillNotebookClient
        from papermill.engines import NotebookExecutionManager

    node = nbformat.from_dict(notebook)
    for cell in node.cells:
        cell.metadata.setdefault("tags", [])
    node.metadata["papermill"] = {}
    deadline = None if timeout is None else time.monotonic() + timeout
    total = sum(cell.cell_type == "code" for cell in node.cells)
    account: dict = {}

    class Client(PapermillNotebookClient):
        at = 0
        through = False

        def papermill_execute_cells(self) -> None:
            if refusal and (why := self.ask(refusal)):
                self.through = True
                raise RefusedError(why)
            super().papermill_execute_cells()
            self.through = True
            account.update(self.ask("__import__('dsnotes.runs.usage', fromlist=['usage']).usage()"))

        def ask(self, expression: str) -> Any:
            sent = self.kc.execute("", silent=True, store_history=False, user_expressions={"said": expression})
            said = self.wait_for_reply(sent)["content"].get("user_expressions", {}).get("said", {})
            return ast.literal_eval(said["data"]["text/plain"]) if said.get("status") == "ok" else {}

        def begin(self, cell, cell_index) -> None:
            if cell.cell_type == "code":
                self.at += 1
                self.say(cell.source.strip().splitlines()[0] if cell.source.strip() else "")

        async def async_end(self) -> None:
            """Send the shutdown request on the shell channel, so that the kernel handles it after its last cell."""
            left = asyncio.all_tasks() - {asyncio.current_task()}  # Ctrl-C cancels the waiting, not these tasks
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            if self.km is None:  # the kernel did not start, and nbclient has cleaned up
                return
            if not self.at and not self.through:  # Ctrl-C during start-up: closing unfinished channels may hang
                if self.km.has_kernel:
                    await self.km.shutdown_kernel(now=True)
                return
            if await self.km.is_alive():
                if not self.through:
                    await self.km.interrupt_kernel()
                self.kc.shell_channel.send(self.kc.session.msg("shutdown_request", {"restart": False}))
                await self.km.finish_shutdown()
            await self._async_cleanup_kernel()

        end = _sync(async_end)

        def process_message(self, message, *rest, **kwargs):
            content = message.get("content", {})
            if message.get("msg_type") == "stream":
                self.say(last_line(content.get("text", "")))
            elif message.get("msg_type") in ("display_data", "update_display_data"):
                self.say(last_line(content.get("data", {}).get("text/plain", "")))
            return super().process_message(message, *rest, **kwargs)

        def say(self, what: str) -> None:
            if tell is not None and what:
                tell(f"cell {self.at}/{total}  {what}")

    manager = NotebookExecutionManager(node, output_path=str(output), progress_bar=False)
    manager.notebook_start()
    client = Client(
        manager,
        kernel_name=node.metadata.kernelspec.name,
        resources={"metadata": {"path": str(cwd)}},
        timeout_func=None if deadline is None else lambda cell: max(1, round(deadline - time.monotonic())),
        startup_timeout=120,
    )
    client.on_cell_start = client.begin
    client.create_kernel_manager()
    if hasattr(client.km, "transport_encryption"):  # otherwise ipykernel warns in every run
        client.km.transport_encryption = "auto"
    try:
        client.execute(env=environment, cleanup_kc=False)
    except NoSuchKernel as error:
        raise RefusedError(
            f"the notebook needs the kernel {error.name!r}, which is not installed; `jupyter kernelspec list` shows "
            f"those that are; its header may name python3"
        ) from None
    finally:
        client.end()
        manager.notebook_complete()
    return manager.nb, account


def _sync(method: Callable) -> Callable:
    from nbclient.util import run_sync

    return run_sync(method)


def last_line(text: str) -> str:
    """The last line of an output; of a table, its last row with the column names."""
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    if not lines:
        return ""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    if len(rows) > 2 and len(rows[0]) == len(rows[-1]):
        return ", ".join(f"{name} {value}" for name, value in zip(rows[0], rows[-1], strict=True) if value)
    return "" if lines[-1].startswith("<") else lines[-1]
