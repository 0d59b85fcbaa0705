//! What the systems that Skein replaces said that they cost, as they said it.

/// A row of S1-16: containers, without and with models.
#[derive(Clone, Copy, Debug)]
pub struct SeedsRuns {
    /// Runs a month.
    pub runs: u64,
    /// Dollars a month for the platform.
    pub platform_usd: u64,
    /// Dollars a month for models.
    pub model_usd: u64,
}

/// S1-16. S1 says of all of it that models are 80 to 90 percent; of the first row they are 51.
pub const SEEDS_RUNS: [SeedsRuns; 5] = [
    SeedsRuns {
        runs: 10_000,
        platform_usd: 860,
        model_usd: 900,
    },
    SeedsRuns {
        runs: 50_000,
        platform_usd: 1_200,
        model_usd: 4_500,
    },
    SeedsRuns {
        runs: 100_000,
        platform_usd: 2_200,
        model_usd: 9_000,
    },
    SeedsRuns {
        runs: 500_000,
        platform_usd: 5_500,
        model_usd: 45_000,
    },
    SeedsRuns {
        runs: 1_000_000,
        platform_usd: 9_800,
        model_usd: 90_000,
    },
];

/// A row of S4-19, models included.
#[derive(Clone, Copy, Debug)]
pub struct SeedsTasks {
    /// Users.
    pub users: u64,
    /// Squads.
    pub squads: u64,
    /// Tasks a day.
    pub tasks_a_day: u64,
    /// Dollars a month.
    pub usd: u64,
}

/// S4-19.
pub const SEEDS_TASKS: [SeedsTasks; 4] = [
    SeedsTasks {
        users: 1_000,
        squads: 500,
        tasks_a_day: 1_000,
        usd: 500,
    },
    SeedsTasks {
        users: 10_000,
        squads: 5_000,
        tasks_a_day: 10_000,
        usd: 2_000,
    },
    SeedsTasks {
        users: 100_000,
        squads: 50_000,
        tasks_a_day: 100_000,
        usd: 10_000,
    },
    SeedsTasks {
        users: 1_000_000,
        squads: 500_000,
        tasks_a_day: 1_000_000,
        usd: 50_000,
    },
];

/// A row of S2-15: nodes that are paid for whether anything comes or not.
#[derive(Clone, Copy, Debug)]
pub struct SeedsNodes {
    /// Nodes.
    pub nodes: u64,
    /// Dollars a month.
    pub usd: u64,
}

/// S2-15. S2 does not say for how many requests a second each is.
pub const SEEDS_NODES: [SeedsNodes; 3] = [
    SeedsNodes {
        nodes: 9,
        usd: 1_500,
    },
    SeedsNodes {
        nodes: 30,
        usd: 5_000,
    },
    SeedsNodes {
        nodes: 60,
        usd: 10_000,
    },
];
