"""Takes each condition of the store's writes away, one at a time, and says which tests notice.

    without_conditions.py [TEXT]

Each condition in the table below gets a switch, the store's tests are built once, and run once for each condition with
that one switched off: it holds then whatever stands in the table. With TEXT, only those whose name contains it. A
condition that no test misses is a failure, and so is one that is not in the table here. The sources are put back at the
end.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
STORE = ROOT / "shared/store/src"
# The tests with one condition less: a write may then be tried again for ever.
PATIENCE_S = 300
# The tests that should notice, by the file of the condition; all of them, when those do not.
SHOULD_NOTICE = {
    "run/write.rs": ["runs", "ledgers"],
    "ledger.rs": ["ledgers"],
    "ledger/settings.rs": ["ledgers"],
    "ledger/warnings.rs": ["ledgers"],
    "tenant.rs": ["ledgers", "audit"],
    "home.rs": ["bridges"],
    "audit.rs": ["audit"],
    "checkpoint.rs": ["checkpoints"],
    "closing.rs": ["closings"],
    "maintenance.rs": ["maintenance"],
    "agent.rs": ["agents"],
    "api_key.rs": ["agents", "audit"],
    "claim.rs": ["runs", "lists"],
    "watch.rs": ["lists"],
    "usage.rs": ["usage"],
    "requests.rs": ["requests"],
    "limit.rs": ["limits"],
    "moving.rs": ["regions"],
    "ledger/moving.rs": ["regions"],
}
SWITCH = """
/// Whether this condition is switched off.
pub(crate) fn is_without(condition: &str) -> bool {
    std::env::var("WITHOUT").is_ok_and(|without| without == condition)
}
"""


def always(clause):
    """The clause, so that it holds always, and names what it named: the table refuses values that nothing names."""
    return f"({clause} OR attribute_exists(pk) OR attribute_not_exists(pk))"


def text(clause):
    return f'"{clause}"'


def made(clause):
    return f'format!("{clause}")'


def literal(name, file, clause, without=None):
    """A condition that stands as a text in the source."""
    return (name, file, text(clause), text(clause), text(without or always(clause)))


def pushed(name, clause, only=None):
    """A condition of a charge that is made for each name."""
    without = made(always(clause))
    if only:
        without = f'if name == "{only}" {{ {without} }} else {{ {made(clause)} }}'
    return (f"a charge: {name}", "ledger.rs", f"conditions.push({made(clause)})", made(clause), without)


def absent(name, file, context):
    return (name, file, context, "Some(ABSENT)", "None")


TAKE = "open_window = :w AND tokens_left >= :n"
OPEN = "attribute_not_exists(pk) OR open_window < :w"
WATCHED = "watch_sk = :from AND begins_with(list_pk, :status)"
NOT_REVOKED = "attribute_not_exists(pk) OR (tenant = :tenant AND attribute_not_exists(revoked_at))"
WARNED = made("{period} = :period AND (attribute_not_exists({name}) OR {name} < :mark)")
COVERED = "(attribute_not_exists(covered_number) OR covered_number < :from)"
# Of the condition of a deletion, what is about attributes that came later.
LATER = """let mut same = vec!["attribute_exists(pk)".to_owned()];
        let absent: Vec<_> = LATER
            .into_iter()
            .filter(|name| !item.contains_key(*name))
            .collect();
        same.extend(
            absent
                .iter()
                .map(|name| format!("attribute_not_exists({name})"))"""
# Two lines of source each, of which a text is made that stands on one.
LEASE = "attribute_not_exists(fence) OR fence < :fence {}OR (driver = :driver AND fence = :fence)"
CALL = "attribute_not_exists(fence) OR fence < :fence {}OR (fence = :fence AND (driver = :driver OR seen_at <= :dead))"
BREAK = "\\\n             "


def broken(name, clause, without):
    source = text(clause.format(BREAK))
    return (name, "claim.rs", source, source, text(without))


# Name, file, a text that stands there once, the part of it that is the condition, and what stands there without it.
CONDITIONS = [
    absent("a creation: no head yet", "run/write.rs", "self.head_item(tenant, head), Some(ABSENT)"),
    absent("a creation: no commit yet", "run/write.rs", ".await?,\n                    Some(ABSENT)"),
    absent("a commit: the log ends there", "run/write.rs", "let write = Write::new(item, Some(ABSENT))"),
    ("a commit: the run has a head", "run/write.rs", "self.head_item(tenant, head), Some(PRESENT)", "Some(PRESENT)", "None"),
    (
        "a charge: the settings are as they were",
        "ledger.rs",
        "conditions.push(UNCHANGED.to_owned())",
        "UNCHANGED",
        text(always("tenant_revision = :revision")),
    ),
    (
        "a charge: no definition was ever changed",
        "ledger.rs",
        'conditions.push("attribute_not_exists(definitions)".to_owned())',
        text("attribute_not_exists(definitions)"),
        text(always("attribute_not_exists(definitions)")),
    ),
    (
        "a charge: no definition was changed since",
        "ledger.rs",
        'conditions.push("definitions = :definitions".to_owned())',
        text("definitions = :definitions"),
        text(always("definitions = :definitions")),
    ),
    pushed("a place is free", "{name} < :most_{name}", only="runs_active"),
    pushed("the line has room", "{name} < :most_{name}", only="runs_waiting"),
    ("a charge: who begins jumps no line", "ledger.rs", "if begins_at_once ||", "begins_at_once", "false"),
    (
        "a charge: who ends learns that others wait",
        "ledger.rs",
        'notices && entry.active < 0) {\n                conditions.push("runs_waiting = :none"',
        "notices && entry.active < 0",
        "false",
    ),
    pushed("the period is the one counted", "{name} = :{name}"),
    pushed("enough is left", "{name} >= :need_{name}"),
    (
        "a charge: there is a ledger",
        "ledger.rs",
        'conditions.push("attribute_exists(pk)".to_owned())',
        text("attribute_exists(pk)"),
        text(always("attribute_exists(pk)")),
    ),
    ("a period begins once", "ledger.rs", 'let condition = format!("{name} = :from")', made("{name} = :from"), made(always("{name} = :from"))),
    (
        "a tenant's ledger changes under the settings that hold",
        "ledger.rs",
        "write.and(UNCHANGED)",
        "UNCHANGED",
        text(always("tenant_revision = :revision")),
    ),
    (
        "another ledger changes under the settings that hold",
        "ledger.rs",
        "Write::check(ledger, UNCHANGED)",
        "UNCHANGED",
        text(always("tenant_revision = :revision")),
    ),
    (
        "a warning of the period that is counted",
        "ledger/warnings.rs",
        WARNED,
        WARNED,
        made(f"{always('{period} = :period')} AND (attribute_not_exists({{name}}) OR {{name}} < :mark)"),
    ),
    (
        "a warning is given once",
        "ledger/warnings.rs",
        WARNED,
        WARNED,
        made(f"{{period}} = :period AND {always('attribute_not_exists({name}) OR {name} < :mark')}"),
    ),
    absent("a tenant is onboarded once", "tenant.rs", "Write::new(item, Some(ABSENT))"),
    absent("a table is one tenant's alone", "home.rs", "Write::new(item, Some(ABSENT))"),
    literal("a tenant is changed as it was read", "tenant.rs", "revision = :revision"),
    literal("the first ledger of a tenant", "ledger/settings.rs", "attribute_not_exists(tenant_revision)"),
    literal("a ledger follows its tenant", "ledger/settings.rs", "tenant_revision = :old_revision"),
    absent("a link of the audit trail stands for ever", "audit.rs", "Write::new(link, Some(ABSENT))"),
    (
        "the audit trail begins once",
        "audit.rs",
        "Write::update(key, set.to_owned(), ABSENT.to_owned())",
        "ABSENT.to_owned()",
        text(always("attribute_not_exists(pk)")) + ".to_owned()",
    ),
    absent("a refusal is told once a minute", "audit.rs", "Write::new(note, Some(ABSENT))"),
    absent("a checkpoint is planned once", "checkpoint.rs", "Write::new(item, Some(ABSENT))"),
    literal("a checkpoint is stored as it was planned", "checkpoint.rs", "last_entry = :to"),
    literal("a checkpoint is the next one", "checkpoint.rs", COVERED),
    (
        "a trail with entries beyond its checkpoint waits",
        "checkpoint.rs",
        made("{is_next} AND tip_number = :to"),
        made("{is_next} AND tip_number = :to"),
        made(f"{{is_next}} AND {always('tip_number = :to')}"),
    ),
    literal("a trail is postponed as it was found", "checkpoint.rs", "watch_sk = :from"),
    literal("the audit trail is one chain", "audit.rs", "tip_number = :number AND tip_hash = :hash"),
    absent("a closing begins once", "closing.rs", "Write::new(record(closing), Some(ABSENT))"),
    literal("a closing is taken back as it was read", "closing.rs", "revision = :read"),
    literal("a closing moves on from where it was read", "closing.rs", "revision = :before"),
    (
        "what is deleted has gained nothing since it was exported",
        "closing.rs",
        LATER,
        made("attribute_not_exists({name})"),
        made(always("attribute_not_exists({name})")),
    ),
    (
        "what is deleted is what was exported",
        "closing.rs",
        'request.condition_expression(format!("attribute_not_exists(pk) OR ({same})"))',
        made("attribute_not_exists(pk) OR ({same})"),
        made(always("attribute_not_exists(pk) OR ({same})")),
    ),
    absent("maintenance begins once", "maintenance.rs", "None => Write::new(item, Some(ABSENT))"),
    literal("maintenance changes as it was read", "maintenance.rs", "noted_at = :read"),
    absent("a version of an agent stands for ever", "agent.rs", "writes.push(Write::new(item, Some(ABSENT)))"),
    absent("an agent begins once", "agent.rs", "None => Write::new(item, Some(ABSENT))"),
    literal("an agent is changed as it was read", "agent.rs", "revision = :revision"),
    literal("who revokes a key owns it", "api_key.rs", "attribute_not_exists(pk) OR tenant = :tenant"),
    literal(
        "who stores a key owns it",
        "api_key.rs",
        NOT_REVOKED,
        f"attribute_not_exists(pk) OR ({always('tenant = :tenant')} AND attribute_not_exists(revoked_at))",
    ),
    literal("a revoked key stays revoked", "api_key.rs", NOT_REVOKED, "attribute_not_exists(pk) OR tenant = :tenant"),
    literal("a gate key is noted as it was read", "api_key.rs", "gate_plan = :from_plan AND gate_ready = :from_ready"),
    literal(
        "a gate key is noted first of a key that is there and has none",
        "api_key.rs",
        "attribute_exists(pk) AND attribute_not_exists(gate_plan)",
    ),
    literal("no use makes a key", "api_key.rs", "attribute_exists(pk)"),
    broken("a lease: nobody read further", LEASE, always(LEASE.format(""))),
    broken("a lease: its driver keeps it", LEASE, "attribute_not_exists(fence) OR fence < :fence OR (driver = :driver AND fence < :fence)"),
    broken("a call: no other worker has it", CALL, always(CALL.format(""))),
    literal("one sweep of many", "watch.rs", "attribute_not_exists(up_to) OR up_to < :up_to"),
    literal(
        "a run is looked at by one",
        "watch.rs",
        WATCHED,
        f"{always('watch_sk = :from')} AND begins_with(list_pk, :status)",
    ),
    literal(
        "a run is looked at in the state that was read",
        "watch.rs",
        WATCHED,
        f"watch_sk = :from AND {always('begins_with(list_pk, :status)')}",
    ),
    absent("a run is counted once", "usage.rs", "Write::new(item, Some(ABSENT))"),
    (
        "a tally of requests is counted once",
        "requests.rs",
        "Write::update(key, set, IS_NEXT.to_owned())",
        "IS_NEXT.to_owned()",
        text(always("attribute_not_exists(pk) OR told < :number")) + ".to_owned()",
    ),
    (
        "requests are counted for a tenant that is there",
        "requests.rs",
        "Write::check(Key::tenant(tenant, epoch), PRESENT)",
        "PRESENT",
        text(always("attribute_exists(pk)")),
    ),
    (
        "tokens of the window that is open",
        "limit.rs",
        ".condition_expression(TAKE_IF)",
        "TAKE_IF",
        text(f"{always('open_window = :w')} AND tokens_left >= :n"),
    ),
    (
        "no more tokens than are left",
        "limit.rs",
        ".condition_expression(TAKE_IF)",
        "TAKE_IF",
        text(f"open_window = :w AND {always('tokens_left >= :n')}"),
    ),
    absent("a home moves into an epoch once", "moving.rs", "Write::new(record_item(&new), Some(ABSENT))"),
    literal("an agent that went on is not carried again", "moving.rs", "attribute_not_exists(pk) OR revision < :revision"),
    absent("nor is a version", "moving.rs", "        } else {\n            Write::new(item, Some(ABSENT))"),
    absent("a commit is copied where none stands", "moving.rs", "here.put(Write::new(item.clone(), Some(ABSENT)))"),
    absent("a run is taken over where its copied log ends", "moving.rs", "writes.push(Write::new(item, Some(ABSENT)))"),
    absent("a version that is pinned replaces none", "moving.rs", "self.put(Write::new(item, Some(ABSENT)))"),
    (
        "what left no item makes none",
        "moving.rs",
        "removed.to_owned(), PRESENT.to_owned()",
        "PRESENT.to_owned()",
        text(always("attribute_exists(pk)")) + ".to_owned()",
    ),
    (
        "a run brings what it holds under the settings that hold",
        "ledger/moving.rs",
        "UNCHANGED.to_owned(),",
        "UNCHANGED",
        text(always("tenant_revision = :revision")),
    ),
    ("a window is opened once", "limit.rs", ".condition_expression(OPEN_IF)", "OPEN_IF", text(always(OPEN))),
]
# What a condition looks like; every line that has one must be in the table, but for `table.rs`, which hands them on.
LOOKS = re.compile(r"Some\(ABSENT\)|Some\(PRESENT\)|conditions\.push\(|\.condition_expression\(|UNCHANGED\b|:\w+ (AND|OR) |_exists\(")
PASSED_ON = re.compile(r"^\s*(///|//!|//|const |pub\(crate\) const |use )|if_not_exists|filter_expression")


def sources():
    files = {path.relative_to(STORE).as_posix(): path.read_text() for path in STORE.rglob("*.rs")}
    return {name: source for name, source in files.items() if not name.startswith("tests/")}


def check_table(files):
    """Every context stands once, and every line that looks like a condition is in one."""
    covered = {name: set() for name in files}
    for name, file, context, condition, _ in CONDITIONS:
        source = files[file]
        if source.count(context) != 1 or context.count(condition) != 1:
            sys.exit(f"{name}: {context!r} stands {source.count(context)} times in {file}")
        first = source[: source.index(context)].count("\n")
        covered[file].update(range(first, first + context.count("\n") + 1))
    for file, source in files.items():
        for number, line in enumerate(source.splitlines()):
            known = file == "table.rs" or number in covered[file] or PASSED_ON.search(line)
            if LOOKS.search(line) and not known:
                sys.exit(f"{file}:{number + 1} has a condition that is not in the table here:\n{line}")


def switched(files):
    """The sources with a switch for each condition."""
    sites = {}
    for name, file, context, condition, without in CONDITIONS:
        sites.setdefault((file, context, condition), []).append((name, without))
    result = dict(files)
    for (file, context, condition), mutants in sites.items():
        choice = "".join(f'if crate::is_without("{name}") {{ {without} }} else ' for name, without in mutants)
        replaced = context.replace(condition, f"({choice}{{ {condition} }})")
        result[file] = result[file].replace(context, replaced)
    result["lib.rs"] += SWITCH
    return result


def build():
    command = ["cargo", "test", "--quiet", "-p", "skein-store", "--lib", "--no-run", "--message-format", "json"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    messages = (json.loads(line) for line in built.stdout.splitlines())
    executable = next(message["executable"] for message in messages if message.get("executable"))
    # Whoever builds the tests meanwhile writes to the same place.
    return shutil.copy(executable, ROOT / "target/without_conditions")


def missed(executable, condition, modules=None):
    """The tests that fail without a condition, and those that never end, as far as they are known."""
    environment = os.environ | {"WITHOUT": condition, "RUST_BACKTRACE": "0"}
    try:
        run = subprocess.run(
            # Without the random interleavings, which take most of the time: who made a condition made a test for it.
            [executable, "--skip", "interleavings", *(f"tests::{module}::" for module in modules or [])],
            cwd=STORE.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
    except subprocess.TimeoutExpired as late:
        return re.findall(r"^test (\S+) has been running", (late.stdout or b"").decode(), re.MULTILINE) or ["(no end)"]
    return re.findall(r"^test (\S+) \.\.\. FAILED", run.stdout, re.MULTILINE)


def main():
    files = sources()
    check_table(files)
    began = time.monotonic()
    try:
        for name, source in switched(files).items():
            if source != files[name]:
                (STORE / name).write_text(source)
        executable = build()
    finally:
        for name, source in files.items():
            if (STORE / name).read_text() != source:
                (STORE / name).write_text(source)
    if missed(executable, "nothing"):
        sys.exit("tests fail with every condition in place")
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    uncaught = 0
    print("| condition | in | tests that fail without it |\n|---|---|---|")
    for name, file, *_ in CONDITIONS:
        if wanted not in name:
            continue
        tests = missed(executable, name, ["conditions", *SHOULD_NOTICE[file]]) or missed(executable, name)
        tests = [test.removeprefix("tests::") for test in tests]
        uncaught += not tests
        shown = ", ".join(f"`{test}`" for test in tests[:3]) + (f" and {len(tests) - 3} more" if len(tests) > 3 else "")
        print(f"| {name} | `{file}` | {shown or 'NONE'} |", flush=True)
    print(f"\n{uncaught} conditions that no test misses, {time.monotonic() - began:.0f} s")
    return 1 if uncaught else 0


if __name__ == "__main__":
    sys.exit(main())
