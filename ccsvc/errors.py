"""Every error that ccsvc raises on purpose, in one tree.

::

    CcsvcError                        code, message: what happened, where, what to do
    ├── ConfigError                   a value in the configuration; says its path
    ├── CannotListen                  a host and port that can't be listened on
    │   └── PortTaken                 another program has it
    ├── PbxError                      anything between the daemon and Asterisk's manager interface (AMI)
    │   ├── AmiLoginRefused           wrong user or secret: trying again will not help
    │   ├── AmiDown                   no link, or lost while waiting: outcome unknown if `sent`
    │   ├── AmiTimeout                sent, not answered in time: outcome unknown
    │   ├── AmiRefused                Asterisk understood the action and said no
    │   ├── AmiBusy                   too much is waiting already; nothing was sent
    │   ├── AmiUnsendable             the action can't be written safely; nothing was sent
    │   ├── AmiProtocolError          what came is not AMI
    │   └── ModuleMissing             Asterisk runs without a module that is needed
    ├── AgiError                      anything inside one customer's AGI session
    │   ├── AgiHangup                 the channel or the peer is gone: the session is over
    │   ├── AgiRefused                510, 511 or 520: Asterisk did not run the command
    │   ├── AgiTimeout                no reply in time; the session has been closed
    │   ├── AgiBusy                   another command of this session still runs; nothing was sent
    │   ├── AgiUnsendable             the command can't be written safely; nothing was sent
    │   └── AgiProtocolError          what came is not AGI; the session has been closed
    ├── DatabaseError
    │   ├── DatabaseDown              can't be reached, or went away
    │   ├── SchemaOutdated            reachable, but `ccsvc migrate` has not been run
    │   ├── SchemaTooNew              migrated by a later ccsvc than this one
    │   └── MigrationRefused          a migration file was changed, is malformed or failed; nothing of it was kept
    ├── SpoolFull                     the disk buffer for records has reached its limit
    ├── SpoolBroken                   the disk buffer can't be written or read
    ├── SpoolTaken                    another daemon uses this disk buffer
    ├── RecordingFolderUnwritable     recordings would be lost
    ├── PromptMissing                 sentences that can't be played
    └── Refusal                       a request that the rules of the contact centre don't allow

Promises: `code` is stable and snake_case, fit for an API answer or a metric label; the message is for a person.
Adapters add leaves of their own under these branches. This module imports nothing of ours and knows nobody who
raises.
"""

# ruff: noqa: N818  the names say what happened, as in `PortTaken`; that they are errors is said by `raise`

from collections.abc import Sequence


class CcsvcError(Exception):
    """The root. `str(error)` says what happened, where, and what to do about it."""

    code: str = "internal"


class ConfigError(CcsvcError):
    """One fault in the configuration. `path` is dotted, as in `queues.sales.target_s`."""

    code = "config_invalid"

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class CannotListen(CcsvcError):
    """A server socket of ours could not be opened. `what` names the service, as in "AGI"."""

    code = "cannot_listen"

    def __init__(self, what: str, host: str, port: int, reason: str) -> None:
        super().__init__(f"{what} can't listen on {host} port {port}: {reason}")
        self.what, self.host, self.port = what, host, port


class PortTaken(CannotListen):
    """Somebody else listens there already."""

    code = "port_taken"

    def __init__(self, what: str, host: str, port: int) -> None:
        remedy = "stop it (find it with `ss -ltnp`), or choose another port in the configuration"
        super().__init__(what, host, port, f"another program has this port; {remedy}")


class PbxError(CcsvcError):
    """Something between the daemon and Asterisk's manager interface."""

    code = "pbx"


class AmiLoginRefused(PbxError):
    """Asterisk answered and refused the login: only a change of the secret or of manager.conf helps."""

    code = "ami_login_refused"

    def __init__(self, where: str, username: str, answer: str) -> None:
        super().__init__(
            f"Asterisk at {where} refused the manager login of {username!r} ({answer}): check [pbx] ami_username and "
            f"ami_secret against manager.conf, and that its permit/deny lines allow this host"
        )
        self.where, self.username, self.answer = where, username, answer


class AmiDown(PbxError):
    """There is no link, or it went away. With `sent` the action's outcome is unknown: look, never repeat blindly."""

    code = "ami_down"

    def __init__(self, action: str, reason: str, *, sent: bool) -> None:
        fate = "it was sent, its outcome is unknown: ask the PBX before doing it again" if sent else "it was not sent"
        super().__init__(f"AMI action {action}: {reason}; {fate}")
        self.action, self.reason, self.sent = action, reason, sent


class AmiTimeout(PbxError):
    """Sent and not answered within its deadline. The outcome is unknown."""

    code = "ami_timeout"

    def __init__(self, action: str, deadline_s: float) -> None:
        super().__init__(
            f"AMI action {action}: not answered within {deadline_s:g} s; its outcome is unknown: "
            f"ask the PBX before doing it again"
        )
        self.action, self.deadline_s = action, deadline_s


class AmiRefused(PbxError):
    """Asterisk answered with an error. `message` is Asterisk's own text."""

    code = "ami_refused"

    def __init__(self, action: str, message: str) -> None:
        super().__init__(f"AMI action {action}: Asterisk refused it: {message}")
        self.action, self.message = action, message


class AmiBusy(PbxError):
    """A limit of the link is reached; nothing was sent."""

    code = "ami_busy"

    def __init__(self, action: str, problem: str) -> None:
        super().__init__(f"AMI action {action}: {problem}; it was not sent, try again when the PBX has caught up")
        self.action, self.problem = action, problem


class AmiUnsendable(PbxError):
    """The action holds something that would not arrive as meant (a control character, a line too long)."""

    code = "ami_unsendable"

    def __init__(self, action: str, problem: str) -> None:
        super().__init__(f"AMI action {action}: {problem}; it was not sent")
        self.action, self.problem = action, problem


class AmiProtocolError(PbxError):
    """The peer does not speak AMI, or sent more than a message may hold."""

    code = "ami_protocol"


class ModuleMissing(PbxError):
    """Asterisk runs without a module that ccsvc needs."""

    code = "pbx_module_missing"

    def __init__(self, module: str, needed_for: str) -> None:
        super().__init__(
            f"Asterisk has not loaded {module}, needed for {needed_for}: add `load = {module}` to modules.conf "
            f"(or install the package that holds it) and restart Asterisk"
        )
        self.module = module


class AgiError(CcsvcError):
    """Something inside one AGI session."""

    code = "agi"


class AgiHangup(AgiError):
    """The channel was hung up or taken elsewhere, or Asterisk closed the session. AMI knows which."""

    code = "agi_hangup"

    def __init__(self, reason: str) -> None:
        super().__init__(f"AGI session over: {reason}")
        self.reason = reason


class AgiRefused(AgiError):
    """Asterisk did not run the command. `reply_code` is 510 (unknown), 511 (dead channel) or 520 (usage)."""

    code = "agi_refused"

    def __init__(self, command: str, reply_code: int, text: str) -> None:
        super().__init__(f"AGI command {command}: Asterisk answered {reply_code} {text}")
        self.command, self.reply_code, self.text = command, reply_code, text


class AgiTimeout(AgiError):
    """No reply within the deadline. The session is closed, so that the dialplan gets its caller back."""

    code = "agi_timeout"

    def __init__(self, command: str, deadline_s: float) -> None:
        super().__init__(f"AGI command {command}: no reply within {deadline_s:g} s; the session has been closed")
        self.command, self.deadline_s = command, deadline_s


class AgiBusy(AgiError):
    """One session runs one command at a time; nothing was sent."""

    code = "agi_busy"

    def __init__(self, command: str, running: str) -> None:
        super().__init__(f"AGI command {command}: {running} of the same session is not finished; it was not sent")
        self.command, self.running = command, running


class AgiUnsendable(AgiError):
    """The command holds something that would not arrive as meant (a control character, a line too long)."""

    code = "agi_unsendable"

    def __init__(self, command: str, problem: str) -> None:
        super().__init__(f"AGI command {command}: {problem}; it was not sent")
        self.command, self.problem = command, problem


class AgiProtocolError(AgiError):
    """The peer does not speak AGI, sent too much, or its header block was tampered with."""

    code = "agi_protocol"


class DatabaseError(CcsvcError):
    """Something between the daemon and PostgreSQL."""

    code = "database"


class DatabaseDown(DatabaseError):
    """PostgreSQL can't be reached, or the connection was lost."""

    code = "database_down"


class SchemaOutdated(DatabaseError):
    """The database answers, but its schema is not the one this version needs: run `ccsvc migrate`."""

    code = "schema_outdated"


class SchemaTooNew(DatabaseError):
    """The database was migrated by a later ccsvc: install that one, or restore the backup from before it."""

    code = "schema_too_new"


class MigrationRefused(DatabaseError):
    """One migration file could not be taken; the database is as it was before that file."""

    code = "migration_refused"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"migration {name}: {problem}")
        self.name = name


class SpoolFull(CcsvcError):
    """The disk buffer for records has reached its limit: bring the database back, or raise the limit."""

    code = "spool_full"


class SpoolBroken(CcsvcError):
    """The disk buffer can't be written or read: the rows given were not kept."""

    code = "spool_broken"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"the spool at {path}: {reason}; look at the disk's space and health, and at [state] dir")
        self.path = path


class SpoolTaken(CcsvcError):
    """Two daemons on one spool would lose each other's rows."""

    code = "spool_taken"

    def __init__(self, path: str, owner: str) -> None:
        super().__init__(
            f"the spool at {path} is in use by {owner}: stop that daemon, or give this one its own [state] dir"
        )
        self.path = path


class RecordingFolderUnwritable(CcsvcError):
    """Recordings could not be kept."""

    code = "recording_folder_unwritable"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"recordings can't be written to {path} ({reason}): create it, and let the users that Asterisk and "
            f"ccsvc run as write there, or change [recording] dir"
        )
        self.path = path


class PromptMissing(CcsvcError):
    """Sentences that can't be played: `faults` has one line for each, every one with its remedy."""

    code = "prompt_missing"

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class Refusal(CcsvcError):
    """A request that the rules don't allow, as in `Refusal("agent_not_logged_in", "agent 2001 is not logged in")`."""

    code = "refused"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
