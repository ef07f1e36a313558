"""What an operator decides: one frozen, typed tree for the whole of `ccsvc.toml`.

Promises: every value has its unit in its name, every default is stated here and nowhere else, and a
`Settings` that exists is well-formed field by field. Whether the parts agree with each other (a menu's
queue exists, a number is used once) is judged by `ccsvc.domain.consistency`; reading files and
secrets is `ccsvc.config`. This module knows neither files nor environment.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Language = Literal["fa", "ar", "en"]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
AgentNumber = Annotated[str, Meta(pattern=r"^[0-9]{1,8}$")]
Pin = Annotated[str, Meta(pattern=r"^([0-9]{4,12})?$")]
"""Empty: none here, it is in `pin_hash` or `pin_file`."""
Dialable = Annotated[str, Meta(pattern=r"^\+?[0-9]{1,20}$")]
Text = Annotated[str, Meta(min_length=1, max_length=2000)]
Target = Annotated[str, Meta(min_length=1, max_length=200)]
OptionalTarget = Annotated[str, Meta(max_length=200)]
Seconds = Annotated[float, Meta(ge=0, le=86400)]
PositiveSeconds = Annotated[float, Meta(gt=0, le=86400)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=0, le=100_000)]
Texts = dict[Language, Text]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of `ccsvc.toml`: unknown keys are refused, values never change after reading."""


class PbxSettings(Section, frozen=True, kw_only=True):
    """`[pbx]`: the one Asterisk that this daemon drives."""

    name: Name = "pbx1"
    host: str = "127.0.0.1"
    ami_port: Port = 5038
    ami_username: Name = "ccsvc"
    ami_secret: str = ""
    ami_secret_file: str = ""
    agi_host: str = "127.0.0.1"
    agi_port: Port = 4573
    sip_bind: str = "0.0.0.0"  # noqa: S104  phones are outside; AMI and AGI never are
    sip_port: Port = 5060
    rtp_first_port: Port = 10000
    rtp_last_port: Port = 10999
    media_address: str = ""
    config_dir: str = "/etc/asterisk"
    modules_dir: str = "/usr/lib/asterisk/modules"
    data_dir: str = "/usr/share/asterisk"
    state_dir: str = "/var/lib/asterisk"
    spool_dir: str = "/var/spool/asterisk"
    log_dir: str = "/var/log/asterisk"
    run_dir: str = "/var/run/asterisk"
    heartbeat_interval_s: PositiveSeconds = 1.0
    heartbeat_stale_s: Annotated[float, Meta(ge=2, le=60)] = 3.0


class PostgresSettings(Section, frozen=True, kw_only=True):
    """`[postgres]`: where the records go. The DSN may hold a password: prefer `dsn_file`."""

    dsn: str = ""
    dsn_file: str = ""
    command_timeout_s: PositiveSeconds = 30.0


class HttpSettings(Section, frozen=True, kw_only=True):
    """`[http]`: metrics, health and the API."""

    host: str = "127.0.0.1"
    port: Port = 8088


class RecordingSettings(Section, frozen=True, kw_only=True):
    """`[recording]`: where conversations are kept. `dir` is written by Asterisk and read by the daemon."""

    dir: str = "recordings"
    format: Literal["wav"] = "wav"
    tolerance_s: Seconds = 2.0


class PromptSettings(Section, frozen=True, kw_only=True):
    """`[prompts]`: synthesised speech is cached in `cache_dir`; a file in `recorded_dir` wins."""

    cache_dir: str = "prompts"
    recorded_dir: str = ""


class StateSettings(Section, frozen=True, kw_only=True):
    """`[state]`: the daemon's own disk: the spool that bridges a database outage and a restart."""

    dir: str = "state"
    spool_limit_mb: Annotated[int, Meta(ge=1, le=1_000_000)] = 1024
    fsync_interval_s: Seconds = 0.2
    tape: str = ""


class LogSettings(Section, frozen=True, kw_only=True):
    """`[log]`: JSON lines on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class QueueSettings(Section, frozen=True, kw_only=True):
    """`[[queue]]`: one line of waiting callers."""

    name: Name
    titles: Texts = field(default_factory=dict)
    strategy: Literal["longest_idle"] = "longest_idle"
    ring_timeout_s: PositiveSeconds = 15.0
    retry_s: Seconds = 5.0
    wrap_up_s: Seconds = 10.0
    max_wait_s: PositiveSeconds = 600.0
    max_waiting: Count = 100
    target_s: Seconds = 20.0
    short_abandon_s: Seconds = 5.0
    service_level: Literal[
        "answered_of_offered_less_short", "answered_of_answered", "answered_of_all", "served_of_all"
    ] = "answered_of_offered_less_short"
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0
    music: Name = "default"
    record: bool = True
    join_empty: bool = False
    leave_empty: bool = True
    on_timeout: Target = "hangup"
    on_empty: Target = "hangup"
    on_full: Target = "hangup"


class AgentSettings(Section, frozen=True, kw_only=True):
    """`[[agent]]`: a person. They log in from any device with their number and PIN."""

    number: AgentNumber
    name: str
    pin: Pin = ""
    pin_hash: str = ""
    pin_file: str = ""
    queues: tuple[Name, ...] = ()
    language: Language = "en"


class DeviceSettings(Section, frozen=True, kw_only=True):
    """`[[device]]`: a SIP phone that may register."""

    name: Name
    secret: str = ""
    secret_file: str = ""
    caller_id: str = ""
    transport: Literal["udp", "tcp"] = "udp"


class SupervisorSettings(Section, frozen=True, kw_only=True):
    """`[[supervisor]]`: a person who may listen in, from their own device and with their PIN."""

    number: AgentNumber
    name: str
    device: Name
    pin: Pin = ""
    pin_hash: str = ""
    pin_file: str = ""
    queues: tuple[Name, ...] = ()
    language: Language = "en"


class DidSettings(Section, frozen=True, kw_only=True):
    """`[[did]]`: a number that callers dial, and where it leads. `target`: `ivr:<name>` or `queue:<name>`."""

    number: Dialable
    target: Target
    language: Language = "en"
    safety_queue: Name


class TrunkSettings(Section, frozen=True, kw_only=True):
    """`[[trunk]]`: a SIP provider, recognised by its address."""

    name: Name
    host: str
    match: tuple[str, ...]
    codecs: tuple[Literal["ulaw", "alaw", "g722"], ...] = ("ulaw", "alaw")


class IvrNodeSettings(Section, frozen=True, kw_only=True):
    """One node: say something, then follow a key or `next`. See `ccsvc.domain.ivr` for the meaning."""

    say: Texts
    keys: dict[Annotated[str, Meta(pattern=r"^[0-9*#]$")], Target] = field(default_factory=dict)
    next: OptionalTarget = ""
    input_timeout_s: PositiveSeconds = 5.0
    max_attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    on_failure: Target = "hangup"


class IvrSettings(Section, frozen=True, kw_only=True):
    """`[ivr.<name>]`: a menu tree."""

    start: Name
    node: dict[Name, IvrNodeSettings]


class Settings(Section, frozen=True, kw_only=True):
    """The whole file."""

    pbx: PbxSettings = PbxSettings()
    postgres: PostgresSettings = PostgresSettings()
    http: HttpSettings = HttpSettings()
    recording: RecordingSettings = RecordingSettings()
    prompts: PromptSettings = PromptSettings()
    state: StateSettings = StateSettings()
    log: LogSettings = LogSettings()
    timezone: str = "UTC"
    pause_reasons: dict[Annotated[str, Meta(pattern=r"^[0-9]$")], Name] = field(
        default_factory=lambda: {"0": "other", "1": "break", "2": "lunch", "3": "meeting", "4": "training"}
    )
    queue: tuple[QueueSettings, ...] = ()
    agent: tuple[AgentSettings, ...] = ()
    device: tuple[DeviceSettings, ...] = ()
    supervisor: tuple[SupervisorSettings, ...] = ()
    did: tuple[DidSettings, ...] = ()
    trunk: tuple[TrunkSettings, ...] = ()
    ivr: dict[Name, IvrSettings] = field(default_factory=dict)
