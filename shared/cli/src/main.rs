//! `skein`: the platform on one machine, and everything a person types.
//!
//! Without a command it is `skein dev`. `skein function <name>` is what the local cloud starts: exactly the `main` of that
//! Lambda function. All other commands talk to the HTTP API like any client.

mod agents;
mod args;
mod audit;
mod client;
mod closing;
mod deploy;
mod dev;
mod doctor;
mod load;
mod operate;
mod operator;
mod output;
mod plan;
mod region;
mod run;
#[cfg(test)]
mod runbooks;
mod runs;
mod slo;
mod smoke;
mod usage;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Cli, Command};
use output::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return output::fail(&Failure::Other(error.into())),
    };
    match runtime.block_on(perform(cli)) {
        Ok(code) => code,
        Err(failure) => output::fail(&failure),
    }
}

async fn perform(cli: Cli) -> Result<ExitCode, Failure> {
    let command = cli
        .command
        .unwrap_or_else(|| Command::Dev(args::Dev::default()));
    match command {
        Command::Dev(dev) => dev::dev(dev).await,
        Command::Function { name } => function(&name).await,
        Command::Run(run) => run::run(&cli.server.client()?, run).await,
        Command::Runs(command) => runs::runs(&cli.server, command).await,
        Command::Agents(command) => agents::agents(&cli.server.client()?, command).await,
        Command::Tenants(command) => operator::tenants(&cli.server.operator()?, command).await,
        Command::Operators(command) => operator::operators(command).await,
        Command::Keys(command) => operator::keys(&cli.server.operator()?, command).await,
        Command::Budgets(command) => operator::budgets(&cli.server.operator()?, command).await,
        Command::Region(command) => region::region(&cli.server.operator()?, command).await,
        Command::Usage(asked) => {
            let client = match asked.tenant {
                Some(_) => cli.server.operator()?,
                None => cli.server.client()?,
            };
            usage::usage(&client, asked).await
        }
        Command::Slo(asked) => slo::slo(&cli.server.operator()?, asked).await,
        Command::Audit(command) => audit::audit(&cli.server, command).await,
        Command::Dlq(command) => operate::dlq(&cli.server.operator()?, command).await,
        Command::Maintenance(command) => {
            operate::maintenance(&cli.server.operator()?, command).await
        }
        Command::Tiers { json } => operator::tiers(&cli.server.operator()?, json).await,
        Command::Plan(asked) => plan::plan(&asked),
        Command::Load(asked) => load::load(&cli.server, asked).await,
        Command::Deploy(command) => deploy::deploy(&cli.server, command).await,
        Command::Doctor(asked) => match asked.stack {
            Some(stack) => smoke::smoke(&cli.server, &stack, asked.model).await,
            None => doctor::doctor(&cli.server).await,
        },
        Command::Openapi => {
            output::line(api::OPENAPI.trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "skein", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Runs one Lambda function, as its own binary would.
async fn function(name: &str) -> Result<ExitCode, Failure> {
    local::lambda::end_with_parent();
    let ran = match name {
        "api" => api::run().await,
        "admin" => admin::run().await,
        "stream" => stream::run().await,
        "orchestrator" => orchestrator::run().await,
        "worker" => worker::run().await,
        "janitor" => janitor::run().await,
        "relay" => relay::run().await,
        "authorizer" => authorizer::run().await,
        other => return Err(anyhow::anyhow!("there is no function `{other}`").into()),
    };
    ran.map_err(|error| Failure::Other(anyhow::anyhow!(error)))?;
    Ok(ExitCode::SUCCESS)
}
