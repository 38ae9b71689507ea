"""A Jupyter kernel forked from the process that executes its notebook: it has everything imported as it starts."""

import multiprocessing
import os
from importlib.metadata import EntryPoint
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

from corrlib.processes import end_with_parent


class QuietKernelManager(AsyncKernelManager):
    """A kernel that is shut down is not interrupted first: idle as it is, it would print an error."""

    async def _async_interrupt_kernel(self) -> None:
        if not self.shutting_down:
            await super()._async_interrupt_kernel()


class ForkedKernel(ForkProcess):
    """A process that waits to become a kernel, with what jupyter_client asks of a subprocess.Popen.

    To be started before papermill opens sockets and event loops, which do not survive a fork.
    """

    stdin = stdout = stderr = None

    def __init__(self) -> None:
        super().__init__(name="kernel")
        self._received, self._sent = multiprocessing.Pipe(duplex=False)

    def launch(self, arguments: list[str], environment: dict[str, str], folder: str) -> None:
        """Become a kernel with these command line arguments."""
        self._sent.send((arguments, environment, folder))

    def run(self) -> None:
        """In the forked process: wait for `launch`, then serve as a kernel until it is shut down or the run ends."""
        from ipykernel.kernelapp import IPKernelApp

        end_with_parent()
        os.setsid()  # Ctrl-C goes to the run, which shuts its kernel down
        self._sent.close()
        try:
            arguments, environment, folder = self._received.recv()
        except EOFError:  # the run has ended before it needed a kernel
            return
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        IPKernelApp.launch_instance(arguments, parent_handle=os.getppid())

    def poll(self) -> int | None:
        """Exit status, None while it lives."""
        return self.exitcode

    def wait(self) -> int | None:
        """Exit status, once it has ended."""
        self.join()
        return self.exitcode

    def send_signal(self, number: int) -> None:
        """As os.kill; nothing where it has ended."""
        if self.pid is not None and self.exitcode is None:
            os.kill(self.pid, number)


class ForkedProvisioner(LocalProvisioner):
    """Starts a kernel by telling the waiting process to become one."""

    waiting: ForkedKernel

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel that `cmd` describes; returns how it is reached."""
        self.cwd = str(kwargs.get("cwd") or Path.cwd())
        self.waiting.launch(cmd[cmd.index("-f") :], dict(kwargs["env"]), self.cwd)
        self.process, self.pid = self.waiting, self.waiting.pid  # pyrefly: ignore[bad-override-mutable-attribute]
        return self.connection_info


def use(kernel: ForkedKernel) -> None:
    """Let the notebook that this process executes next run in `kernel`."""
    ForkedProvisioner.waiting = kernel
    factory = KernelProvisionerFactory.instance()
    factory.provisioners["forked"] = EntryPoint("forked", f"{__name__}:ForkedProvisioner", factory.GROUP_NAME)
    factory.default_provisioner_name = "forked"
