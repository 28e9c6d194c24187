"""The database's shape, as numbered migrations (rule 42).

Three families of tables: what Entra says (`object`, `member` and their staging), what each target
holds (`account`, `target_group`, `edge`) and whose it is (`link`), and what people should know
(`waiting`, `hold`, `spent`, `journal`). Work to do is nowhere: it is planned from these.

Objects, accounts and groups have small integer keys inside the database, so that a membership
costs a few bytes; outside they are named by Entra's ids and the products' keys.
"""

from __future__ import annotations

MIGRATIONS: tuple[str, ...] = (
    """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;

-- Entra ------------------------------------------------------------------------------------------

-- Users and groups. properties NULL: only its id is known (a member whose own feed lags behind).
-- own: a group of a product's that stands for none of Entra's (state/own.py).
CREATE TABLE object (
    n           INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    kind        TEXT NOT NULL CHECK (kind IN ('user', 'group', 'own')),
    properties  TEXT,
    presence    TEXT NOT NULL DEFAULT 'present',
    since       REAL,
    name        TEXT,                       -- folded UPN or display name, for look-ups
    mail        TEXT,                       -- folded
    former_name TEXT,                       -- a group's display name before its last change
    unverified  INTEGER NOT NULL DEFAULT 0, -- groups to be asked for (rule 6): 1 restored, 2 new
    manager     INTEGER,                    -- the manager's n, 0: has none, NULL: not read
    manager_due INTEGER NOT NULL DEFAULT 0, -- to be asked for
    crawl       INTEGER NOT NULL DEFAULT 0, -- the crawl that last saw it
    touched     INTEGER NOT NULL DEFAULT 0  -- the revision that last changed it
);
CREATE INDEX object_touched ON object (touched);
CREATE INDEX object_name ON object (name);
CREATE INDEX object_mail ON object (mail);
CREATE INDEX object_unverified ON object (n) WHERE unverified;
CREATE INDEX object_manager ON object (manager) WHERE manager > 0;
CREATE INDEX object_manager_due ON object (n) WHERE manager_due;
CREATE INDEX object_soft_deleted ON object (since) WHERE presence = 'soft_deleted';

-- Direct memberships; no foreign key to a child that the user feed has not delivered yet.
CREATE TABLE member (
    parent INTEGER NOT NULL,
    child  INTEGER NOT NULL,
    crawl  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (parent, child)
) WITHOUT ROWID;
CREATE INDEX member_child ON member (child, parent);

-- Removed by a round while a crawl was being read, whose pages may be older (rule 3).
CREATE TABLE member_gone (
    parent INTEGER NOT NULL,
    child  INTEGER NOT NULL,
    PRIMARY KEY (parent, child)
) WITHOUT ROWID;

-- "Whatever is at or below this object may be in other groups since this revision."
CREATE TABLE affected (
    revision INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    PRIMARY KEY (revision, n)
) WITHOUT ROWID;

-- Where reading stands. pass: 'round' or 'crawl'.
CREATE TABLE cursor (
    pass       TEXT NOT NULL,
    feed       TEXT NOT NULL,
    next_link  TEXT,
    delta_link TEXT,
    selection  TEXT NOT NULL,
    started_at REAL NOT NULL,
    pages      INTEGER NOT NULL DEFAULT 0,
    items      INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (pass, feed)
) WITHOUT ROWID;
CREATE TABLE staged (
    seq  INTEGER PRIMARY KEY,
    pass TEXT NOT NULL,
    feed TEXT NOT NULL,
    page TEXT NOT NULL
);
CREATE INDEX staged_pass ON staged (pass, feed, seq);
CREATE TABLE feed (
    name       TEXT PRIMARY KEY,
    delta_link TEXT NOT NULL,
    selection  TEXT NOT NULL,
    issued_at  REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE subscription (
    resource     TEXT PRIMARY KEY,
    id           TEXT NOT NULL,
    fingerprint  TEXT NOT NULL,
    expires_at   REAL NOT NULL,
    url          TEXT NOT NULL
) WITHOUT ROWID;

-- Targets ----------------------------------------------------------------------------------------

CREATE TABLE target (
    t             INTEGER PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    type          TEXT NOT NULL,
    fingerprint   TEXT,
    revision      INTEGER NOT NULL DEFAULT 0,  -- of the mirror, that it has reached
    policy        TEXT NOT NULL DEFAULT '',    -- digest of the settings that it was planned with
    full_due      INTEGER NOT NULL DEFAULT 1,  -- how often a full plan was asked for since the last
    inventory     INTEGER NOT NULL DEFAULT 0,  -- number of the last complete inventory
    inventory_begun INTEGER NOT NULL DEFAULT 0, -- number of the last one that was begun
    inventory_at  REAL,
    first_contact TEXT NOT NULL DEFAULT 'new', -- new, open, rejected, consented, done
    agreed        TEXT,                        -- to how many changes of each kind, while consented
    success_at    REAL,
    paused        TEXT,
    detached      INTEGER NOT NULL DEFAULT 0,  -- given up: kept for the journal alone
    n_accounts    INTEGER NOT NULL DEFAULT 0,  -- active linked accounts, kept by triggers, as are
    n_edges       INTEGER NOT NULL DEFAULT 0,  -- memberships that are ours
    n_groups      INTEGER NOT NULL DEFAULT 0   -- linked groups
);

CREATE TABLE account (
    a         INTEGER PRIMARY KEY,
    t         INTEGER NOT NULL REFERENCES target (t),
    key       TEXT NOT NULL,
    name      TEXT NOT NULL,                   -- folded username
    mail      TEXT,                            -- folded
    active    INTEGER NOT NULL DEFAULT 1,
    body      TEXT NOT NULL,
    inventory INTEGER NOT NULL DEFAULT 0,
    marked_for TEXT,                           -- the object id of its ownership mark
    marked_by  TEXT,                           -- and the instance that left it
    mark_read  INTEGER NOT NULL DEFAULT 0,     -- asked for, where the listing does not show it
    UNIQUE (t, key)
);
CREATE INDEX account_mark ON account (t, marked_for) WHERE marked_for IS NOT NULL;
CREATE INDEX account_name ON account (t, name);
CREATE INDEX account_mail ON account (t, mail);

CREATE TABLE target_group (
    g         INTEGER PRIMARY KEY,
    t         INTEGER NOT NULL REFERENCES target (t),
    key       TEXT NOT NULL,
    name      TEXT NOT NULL,                   -- folded
    body      TEXT NOT NULL,
    members_read INTEGER NOT NULL DEFAULT 0,   -- inventory at which its members were last read
    n_members INTEGER NOT NULL DEFAULT 0,      -- kept by triggers
    inventory INTEGER NOT NULL DEFAULT 0,
    UNIQUE (t, key)
);
CREATE INDEX target_group_name ON target_group (t, name);

-- A membership that stands in the target. ours NULL: not judged yet (rule 21).
-- removed: we removed it; if an inventory shows it again it is inherited. lost (and removed):
-- somebody else ended what was ours. unsure: the answer to our last write of it was lost.
CREATE TABLE edge (
    g         INTEGER NOT NULL,
    a         INTEGER NOT NULL,
    ours      INTEGER,
    inherited INTEGER NOT NULL DEFAULT 0,
    removed   INTEGER NOT NULL DEFAULT 0,
    lost      INTEGER NOT NULL DEFAULT 0,
    unsure    INTEGER NOT NULL DEFAULT 0,
    inventory INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (g, a)
) WITHOUT ROWID;
CREATE INDEX edge_a ON edge (a, g);

-- A group (c) that stands directly in a group (p) of the target. The columns are those of an edge;
-- what is there again although we had removed it is not ours any more.
CREATE TABLE child (
    p         INTEGER NOT NULL,
    c         INTEGER NOT NULL,
    ours      INTEGER,
    removed   INTEGER NOT NULL DEFAULT 0,
    lost      INTEGER NOT NULL DEFAULT 0,
    inventory INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (p, c)
) WITHOUT ROWID;
CREATE INDEX child_c ON child (c, p);

-- ObjectId to account or group. One link per account, one per object (rule 18).
CREATE TABLE link (
    t           INTEGER NOT NULL REFERENCES target (t),
    n           INTEGER NOT NULL REFERENCES object (n),
    a           INTEGER REFERENCES account (a),
    g           INTEGER REFERENCES target_group (g),
    origin      TEXT NOT NULL,
    state       TEXT NOT NULL,
    sent        TEXT,
    written     TEXT,
    deactivated INTEGER NOT NULL DEFAULT 0,
    left_at     REAL,
    stripped    TEXT,
    PRIMARY KEY (t, n)
) WITHOUT ROWID;
CREATE UNIQUE INDEX link_a ON link (a) WHERE a IS NOT NULL;
CREATE UNIQUE INDEX link_g ON link (g) WHERE g IS NOT NULL;
CREATE INDEX link_pending ON link (t, n) WHERE state = 'pending';

-- Whom `unlink` let go, and the account that she had: hands off until somebody links her again.
CREATE TABLE unlinked (
    t      INTEGER NOT NULL,
    n      INTEGER NOT NULL,
    key    TEXT NOT NULL,
    by     TEXT NOT NULL,
    reason TEXT NOT NULL,
    at     REAL NOT NULL,
    PRIMARY KEY (t, n)
) WITHOUT ROWID;

-- The bases of the guard's percentages are asked for at every write: kept, not counted.
CREATE TRIGGER edge_born AFTER INSERT ON edge BEGIN
    UPDATE target_group SET n_members = n_members + 1 WHERE g = NEW.g AND NOT NEW.removed;
    UPDATE target SET n_edges = n_edges + 1 WHERE NEW.ours = 1 AND NOT NEW.removed
       AND t = (SELECT t FROM target_group WHERE g = NEW.g);
END;
CREATE TRIGGER edge_dead AFTER DELETE ON edge BEGIN
    UPDATE target_group SET n_members = n_members - 1 WHERE g = OLD.g AND NOT OLD.removed;
    UPDATE target SET n_edges = n_edges - 1 WHERE OLD.ours = 1 AND NOT OLD.removed
       AND t = (SELECT t FROM target_group WHERE g = OLD.g);
END;
CREATE TRIGGER edge_changed AFTER UPDATE OF ours, removed ON edge
    WHEN OLD.ours IS NOT NEW.ours OR OLD.removed != NEW.removed BEGIN
    UPDATE target_group SET n_members = n_members + OLD.removed - NEW.removed WHERE g = NEW.g;
    UPDATE target SET n_edges = n_edges
         + (coalesce(NEW.ours, 0) AND NOT NEW.removed) - (coalesce(OLD.ours, 0) AND NOT OLD.removed)
     WHERE t = (SELECT t FROM target_group WHERE g = NEW.g);
END;
CREATE TRIGGER link_born AFTER INSERT ON link BEGIN
    UPDATE target SET n_groups = n_groups + (NEW.g IS NOT NULL), n_accounts = n_accounts
         + coalesce((SELECT active FROM account WHERE a = NEW.a), 0) WHERE t = NEW.t;
END;
CREATE TRIGGER link_dead AFTER DELETE ON link BEGIN
    UPDATE target SET n_groups = n_groups - (OLD.g IS NOT NULL), n_accounts = n_accounts
         - coalesce((SELECT active FROM account WHERE a = OLD.a), 0) WHERE t = OLD.t;
END;
CREATE TRIGGER link_changed AFTER UPDATE OF a, g ON link
    WHEN OLD.a IS NOT NEW.a OR OLD.g IS NOT NEW.g BEGIN
    UPDATE target SET n_groups = n_groups + (NEW.g IS NOT NULL) - (OLD.g IS NOT NULL),
           n_accounts = n_accounts + coalesce((SELECT active FROM account WHERE a = NEW.a), 0)
         - coalesce((SELECT active FROM account WHERE a = OLD.a), 0) WHERE t = NEW.t;
END;
CREATE TRIGGER account_changed AFTER UPDATE OF active ON account
    WHEN OLD.active != NEW.active AND EXISTS (SELECT 1 FROM link WHERE a = NEW.a) BEGIN
    UPDATE target SET n_accounts = n_accounts + NEW.active - OLD.active WHERE t = NEW.t;
END;

CREATE TABLE claim (
    t     INTEGER NOT NULL,
    field TEXT NOT NULL,                       -- username, email, group; kept: not claimed
    n     INTEGER NOT NULL,
    key   TEXT NOT NULL,
    PRIMARY KEY (t, field, n)
) WITHOUT ROWID;
CREATE INDEX claim_key ON claim (t, field, key);

-- What the scope's entries resolved to, also before (rules 9, 11, 12).
-- n 0: the entry has matched at some time.
CREATE TABLE scope_match (
    t     INTEGER NOT NULL,
    role  TEXT NOT NULL,                       -- members_of, include, exclude
    entry TEXT NOT NULL,
    n     INTEGER NOT NULL,
    PRIMARY KEY (t, role, entry, n)
) WITHOUT ROWID;

-- People -----------------------------------------------------------------------------------------

CREATE TABLE waiting (
    t        INTEGER NOT NULL,
    n        INTEGER NOT NULL,                 -- the object
    change   TEXT NOT NULL,                    -- kind, or ''
    gn       INTEGER NOT NULL DEFAULT 0,       -- the group's object, for memberships
    akey     TEXT NOT NULL DEFAULT '',         -- the account's key, where it is nobody's of Entra
    reason   TEXT NOT NULL,
    detail   TEXT NOT NULL,
    hint     TEXT NOT NULL DEFAULT '',
    body     TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    retry_at REAL,
    since    REAL NOT NULL,
    PRIMARY KEY (t, n, change, gn, akey)
) WITHOUT ROWID;
CREATE INDEX waiting_retry ON waiting (t, retry_at) WHERE retry_at IS NOT NULL;
CREATE INDEX waiting_group ON waiting (t, gn) WHERE gn != 0;
CREATE INDEX waiting_protected ON waiting (t) WHERE reason = 'protected' AND retry_at IS NOT NULL;
CREATE INDEX waiting_child ON waiting (t, n) WHERE change = 'remove_child';
CREATE INDEX waiting_foreign ON waiting (t, n) WHERE akey != '';

-- Whoever is in a slice until all of it is right or waits with a reason (rule 29): most are in it
-- because of somebody else's change, or of a wait that is over, which the next slice does not see.
CREATE TABLE owed (
    t INTEGER NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (t, n)
) WITHOUT ROWID;

-- What differs in a product although we did not make it so, and is not put right yet (rule 22).
CREATE TABLE drift (
    t      INTEGER NOT NULL,
    n      INTEGER NOT NULL,
    change TEXT NOT NULL,
    gn     INTEGER NOT NULL DEFAULT 0,
    since  REAL NOT NULL,
    PRIMARY KEY (t, n, change, gn)
) WITHOUT ROWID;

CREATE TABLE hold (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    t          INTEGER,                        -- NULL: Entra's side
    kind       TEXT NOT NULL,
    state      TEXT NOT NULL DEFAULT 'open',   -- open, approved, rejected, gone
    opened_at  REAL NOT NULL,
    detail     TEXT NOT NULL,
    payload    TEXT NOT NULL DEFAULT '{}',
    decided_by TEXT,
    decided_at REAL,
    decision   TEXT
);
CREATE TABLE hold_item (
    hold   INTEGER NOT NULL REFERENCES hold (id),
    n      INTEGER NOT NULL,
    change TEXT NOT NULL,
    gn     INTEGER NOT NULL DEFAULT 0,
    akey   TEXT NOT NULL DEFAULT '',
    digest TEXT NOT NULL,                      -- of what would be written
    body   TEXT NOT NULL,
    state  TEXT NOT NULL DEFAULT 'open',       -- open, approved, rejected
    PRIMARY KEY (hold, n, change, gn, akey)
) WITHOUT ROWID;
CREATE INDEX hold_item_change ON hold_item (n, change, gn, akey);

CREATE TABLE spent (
    t     INTEGER NOT NULL,
    class TEXT NOT NULL,
    gn    INTEGER NOT NULL DEFAULT 0,
    at    REAL NOT NULL,                       -- by the guard's clock, never backwards
    n     INTEGER NOT NULL,
    akey  TEXT NOT NULL DEFAULT '',
    size  INTEGER NOT NULL,                    -- what the target had then
    people INTEGER NOT NULL DEFAULT 1,         -- whom the write concerned: more for a child group
    PRIMARY KEY (t, class, gn, at, n, akey)
) WITHOUT ROWID;

CREATE TABLE journal (
    id        INTEGER PRIMARY KEY,
    at        REAL NOT NULL,
    t         INTEGER NOT NULL,
    run       TEXT NOT NULL,
    revision  INTEGER NOT NULL,
    change    TEXT NOT NULL,
    reason    TEXT NOT NULL,
    n         INTEGER NOT NULL,
    gn        INTEGER NOT NULL DEFAULT 0,
    name      TEXT NOT NULL,
    before    TEXT,
    after     TEXT,
    outcome   TEXT NOT NULL,                   -- done, already, rejected, unknown
    answer    TEXT NOT NULL DEFAULT '',
    cause     TEXT NOT NULL DEFAULT '',
    seconds   REAL NOT NULL,
    configuration INTEGER                      -- that was in force
);
CREATE INDEX journal_configuration ON journal (configuration);
CREATE INDEX journal_n ON journal (n);
CREATE INDEX journal_at ON journal (at);

-- The configurations that were in force, secrets masked, the newest last.
CREATE TABLE configuration (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL,
    at     REAL NOT NULL,
    by     TEXT NOT NULL,
    file   TEXT NOT NULL,
    body   TEXT NOT NULL
);

-- What is wrong and was told, and messages on their way: nothing is told twice, nothing is lost.
CREATE TABLE alert (
    key         TEXT PRIMARY KEY,              -- AREA|WHAT
    kind        TEXT NOT NULL,
    target      TEXT,
    title       TEXT NOT NULL,
    stage       TEXT NOT NULL DEFAULT '',
    since       REAL NOT NULL,
    told_at     REAL,
    reminded_at REAL,
    gone_at     REAL
) WITHOUT ROWID;
CREATE TABLE letter (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    door          TEXT NOT NULL,               -- says which, and never its address
    at            REAL NOT NULL,
    body          TEXT NOT NULL,
    attempts      INTEGER NOT NULL DEFAULT 0,
    error         TEXT NOT NULL DEFAULT '',
    failing_since REAL
);
CREATE INDEX letter_door ON letter (door, id);

-- The plan in flight, spilled so that memory stays bounded. Not a queue: dropped at start-up; but
-- what was `sent` and not answered is looked up first (rule 18).
CREATE TABLE planned (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,  -- what is planned later has the higher number
    t      INTEGER NOT NULL,
    phase  INTEGER NOT NULL,
    rank   INTEGER NOT NULL,
    gn     INTEGER NOT NULL,
    n      INTEGER NOT NULL,
    class  TEXT,
    free   INTEGER NOT NULL DEFAULT 0,         -- approved: spends no allowance
    held   TEXT,
    sent   INTEGER NOT NULL DEFAULT 0,         -- it is on its way, or was when we died
    akey   TEXT NOT NULL DEFAULT '',
    change TEXT NOT NULL,
    people INTEGER NOT NULL DEFAULT 1,
    body   TEXT NOT NULL
);
CREATE INDEX planned_order ON planned (t, phase, rank, gn, n, seq) WHERE held IS NULL;
CREATE INDEX planned_n ON planned (t, n);
CREATE INDEX planned_sent ON planned (t, seq) WHERE sent;
CREATE INDEX planned_child ON planned (t) WHERE change = 'remove_child';
""",
)

VERSION = len(MIGRATIONS)
"""The schema that this code works with: `PRAGMA user_version`."""

APPLICATION_ID = 0x617A7379  # "azsy", so that `file` and we know our own
