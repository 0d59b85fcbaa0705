"""What no linter knows of the template."""

import json
import re
import unittest

import deployment
import idle_cost
import sam_transform
from deployment import EVERYTHING, resolved, resources

FUNCTIONS = set(resources(deployment.transformed(), "AWS::Lambda::Function"))
# What the gateway refuses with words of its own, since no function has them.
GATEWAY_ALONE = {"blocked", "gateway_forbidden", "refused"}
# What the authorizer says stands in `problem.rs` as well.
AUTHORIZERS = {"$context.authorizer.code", "$context.authorizer.title"}
SAFE = {"$context.error.messageString", "$context.requestId"} | AUTHORIZERS
CREDENTIALS = {"method.request.header.Authorization", "method.request.header.X-Api-Key"}
METHODS = {"get", "post", "put", "patch", "delete", "options"}


def routes(template):
    """Path, method and operation of every route of the gateway."""
    (api,) = resources(template, "AWS::ApiGateway::RestApi").values()
    for path, item in api["Body"]["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                yield path, method, operation


class Limits(unittest.TestCase):
    def test_the_template_is_within_the_limits_of_cloudformation(self):
        template = deployment.transformed()
        self.assertLessEqual(len(template["Resources"]), 500)
        self.assertLessEqual(len(template["Parameters"]), 200)
        self.assertLessEqual(len(template["Mappings"]), 200)
        self.assertLessEqual(len(template["Outputs"]), 200)
        self.assertLess(len(json.dumps(template)), 1_000_000)

    def test_every_set_of_parameters_resolves(self):
        for stage in ("dev", "staging", "prod"):
            for size in ("small", "mid", "enterprise"):
                self.assertGreater(len(resolved(Stage=stage, Size=size)["Resources"]), 100)
        self.assertGreater(len(resolved(**EVERYTHING)["Resources"]), len(resolved()["Resources"]))

    def test_parameters_that_need_each_other_are_refused_apart(self):
        for given in (
            {"DomainName": "api.example.com"},
            {"BusyFrom": "cron(0 8 * * ? *)", "Size": "mid"},
            {"BusyFrom": "cron(0 8 * * ? *)", "BusyUntil": "cron(0 9 * * ? *)", "Size": "small"},
            {"OwnKey": "on", "ReplicaRegion": "eu-west-1"},
        ):
            with self.assertRaises(ValueError, msg=given):
                resolved(**given)


class Functions(unittest.TestCase):
    def test_everything_that_calls_a_function_calls_its_alias(self):
        template = resolved(**EVERYTHING)
        self.assertGreaterEqual(len(FUNCTIONS), 7)
        aliases = {f"{function}Aliaslive" for function in FUNCTIONS}
        self.assertEqual(set(resources(template, "AWS::Lambda::Alias")), aliases)
        for kind in ("AWS::Lambda::EventSourceMapping", "AWS::Lambda::Permission"):
            found = resources(template, kind)
            self.assertGreater(len(found), 4)
            for name, properties in found.items():
                self.assertIn(properties["FunctionName"]["Ref"], aliases, name)
        for rule in resources(template, "AWS::Events::Rule").values():
            for target in rule["Targets"]:
                self.assertIn(target["Arn"]["Ref"], aliases)
        for path, method, operation in routes(template):
            uri = operation["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"]
            self.assertIn("Aliaslive}", uri, f"{method} {path}")

    def test_every_function_is_traced_logs_json_and_takes_over_as_a_canary_with_alarms(self):
        template = resolved(Stage="prod", Size="mid")
        alarms = resources(template, "AWS::CloudWatch::Alarm")
        for name in FUNCTIONS:
            function = template["Resources"][name]["Properties"]
            self.assertEqual(function["TracingConfig"]["Mode"], "Active", name)
            self.assertEqual(function["LoggingConfig"]["LogFormat"], "JSON", name)
            group = template["Resources"][f"{name}DeploymentGroup"]["Properties"]
            kind = group["DeploymentConfigName"]["Fn::Sub"][1]["ConfigName"]
            self.assertEqual(kind, "Canary10Percent10Minutes", name)
            watched = [alarm["Name"]["Ref"] for alarm in group["AlarmConfiguration"]["Alarms"]]
            self.assertIn(f"{name}Errors", watched)
            self.assertTrue(set(watched) <= set(alarms), name)
            # The version that takes over is asked through the alias, so its failures are the alias's.
            dimensions = {one["Name"]: one["Value"] for one in alarms[f"{name}Errors"]["Dimensions"]}
            self.assertEqual(dimensions["Resource"], {"Fn::Sub": f"${{{name}}}:live"})
            policy = template["Resources"][f"{name}Aliaslive"]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
            self.assertEqual(policy["DeploymentGroupName"], {"Ref": f"{name}DeploymentGroup"})

    def test_a_type_of_deployment_that_codedeploy_does_not_know_is_found_in_a_condition(self):
        bad = {
            "Globals": {"Function": {"DeploymentPreference": {"Type": {"Fn::If": ["IsDev", "AllAtOnce", "Canary7Percent"]}}}},
            "Resources": {"Api": {"Type": "AWS::Serverless::Function", "Properties": {}}},
        }
        (problem,) = sam_transform.wrong_deployment_preferences(bad)
        self.assertIn("Canary7Percent", problem)
        self.assertEqual(list(sam_transform.wrong_deployment_preferences(deployment.source())), [])

    def test_the_guard_against_loops_is_off_where_messages_count_their_hops_and_nowhere_else(self):
        off = {
            name
            for name, function in resources(resolved(), "AWS::Lambda::Function").items()
            if function.get("RecursiveLoop") == "Allow"
        }
        self.assertEqual(off, {"Orchestrator", "Worker", "Janitor"})

    def test_what_is_reserved_is_what_the_event_sources_may_use_and_leaves_room(self):
        for size in ("mid", "enterprise"):
            template = resolved(Size=size)
            functions = resources(template, "AWS::Lambda::Function")
            reserved = {name: function.get("ReservedConcurrentExecutions", 0) for name, function in functions.items()}
            used = dict.fromkeys(FUNCTIONS, 0)
            for source in resources(template, "AWS::Lambda::EventSourceMapping").values():
                name = source["FunctionName"]["Ref"].removesuffix("Aliaslive")
                used[name] += source.get("ScalingConfig", {}).get("MaximumConcurrency", 0)
            for name in ("Orchestrator", "Worker"):
                self.assertEqual(reserved[name], used[name], f"{name} at {size}")
            self.assertGreater(reserved["Janitor"], used["Janitor"])
            # Of the 1,000 that an account has in a Region, Lambda keeps 100 unreserved.
            self.assertLessEqual(sum(reserved.values()), 800, size)
            for name, alias in resources(template, "AWS::Lambda::Alias").items():
                warm = alias.get("ProvisionedConcurrencyConfig", {}).get("ProvisionedConcurrentExecutions", 0)
                function = name.removesuffix("Aliaslive")
                self.assertEqual(warm > 0, function in {"Api", "Stream"}, f"{name} at {size}")
                if reserved[function]:
                    self.assertLessEqual(warm, reserved[function], name)
            for name, target in resources(template, "AWS::ApplicationAutoScaling::ScalableTarget").items():
                most = reserved[name.removesuffix("Warmth")] or target["MaxCapacity"]
                self.assertLessEqual(target["MinCapacity"], target["MaxCapacity"])
                self.assertLessEqual(target["MaxCapacity"], most, f"{name} at {size}")

    def test_the_orchestrators_alarm_stands_at_the_sum_of_the_lanes(self):
        scale = deployment.source()["Mappings"]["Scale"]
        for size in scale.values():
            self.assertEqual(size["Drivers"], size["Interactive"] + size["Standard"] + size["Batch"])

    def test_more_is_kept_warm_in_busy_hours(self):
        targets = resources(resolved(**EVERYTHING), "AWS::ApplicationAutoScaling::ScalableTarget")
        self.assertEqual(len(targets), 2)
        for target in targets.values():
            busy, quiet = (one["ScalableTargetAction"]["MinCapacity"] for one in target["ScheduledActions"])
            self.assertGreater(busy, quiet)
            self.assertEqual(quiet, target["MinCapacity"])
            self.assertLessEqual(busy, target["MaxCapacity"])


class Idle(unittest.TestCase):
    def test_a_small_stack_costs_at_most_20_dollars_a_month_while_nothing_runs(self):
        for stage in ("dev", "staging", "prod"):
            total = sum(dollars for _, _, dollars in idle_cost.items(resolved(Stage=stage, Size="small")))
            self.assertLessEqual(total, 20, stage)

    def test_the_planner_counts_what_a_small_stack_has(self):
        planned = json.loads(deployment.text("shared/cli/src/plan/idle.json"))
        self.assertEqual(planned, idle_cost.counts(resolved()), "scripts/idle_cost.py --counts prints what it has")

    def test_nothing_of_a_small_stack_is_always_on(self):
        kinds = {resource["Type"] for resource in resolved()["Resources"].values()}
        for kind in (
            "AWS::ApplicationAutoScaling::ScalableTarget",
            "AWS::WAFv2::WebACL",
            "AWS::Route53::HealthCheck",
            "AWS::ApiGateway::DomainName",
        ):
            self.assertNotIn(kind, kinds)
        self.assertEqual(next(iter(resources(resolved(), "AWS::ApiGateway::Stage").values()))["CacheClusterEnabled"], False)

    def test_what_is_on_by_parameter_is_counted(self):
        dear = {what: dollars for what, _, dollars in idle_cost.items(resolved(**EVERYTHING))}
        for what in ("provisioned processes", "provisioned pollers", "cache of the API", "firewall", "health check"):
            self.assertGreater(dear[what], 0, what)


class Gateway(unittest.TestCase):
    def cached(self, template):
        """Resource path and method of what the gateway caches."""
        (stage,) = resources(template, "AWS::ApiGateway::Stage").values()
        self.assertEqual(stage["MethodSettings"][0]["ResourcePath"], "/*")
        for setting in stage["MethodSettings"]:
            if setting.get("CachingEnabled"):
                yield setting["ResourcePath"], setting["HttpMethod"].lower(), setting

    def test_nothing_is_cached_unless_asked_for(self):
        self.assertEqual(list(self.cached(resolved())), [])

    def test_what_is_cached_is_kept_for_one_credential_and_never_changes(self):
        template = resolved(CacheSize="0.5")
        cached = list(self.cached(template))
        self.assertEqual([(path, method) for path, method, _ in cached], [("/v1/agents/{agent}/versions/{version}", "get")])
        operations = {(path, method): operation for path, method, operation in routes(template)}
        for path, method, setting in cached:
            self.assertEqual(setting["CacheTtlInSeconds"], 300)
            self.assertTrue(setting["CacheDataEncrypted"])
            integration = operations[path, method]["x-amazon-apigateway-integration"]
            key = set(integration["cacheKeyParameters"])
            self.assertLessEqual(CREDENTIALS, key, "somebody else would be answered what this key may read")
            parts = {f"method.request.path.{part}" for part in re.findall(r"{(\w+)}", path)}
            self.assertLessEqual(parts, key)
            self.assertNotEqual(integration.get("responseTransferMode"), "STREAM")

    def test_a_resource_that_exists_names_every_method_that_the_document_has_there(self):
        document = json.loads(deployment.text("functions/api/openapi.json"))
        known = {(path, method) for path, method, _ in routes(resolved())}
        # A greedy resource is asked only where none stands that is more exact.
        def shape(path):
            return tuple("{}" if part.startswith("{") else part for part in path.split("/"))

        exact = {shape(path) for path, _ in known if "+" not in path}
        parents = {path[:length] for path in exact for length in range(1, len(path) + 1)}
        shaped = {(shape(path), method) for path, method in known}
        checked = 0
        for path, item in document["paths"].items():
            if shape(path) not in parents:
                continue
            for method in METHODS & set(item):
                checked += 1
                self.assertIn((shape(path), method), shaped, f"{method} {path} is hidden by a resource")
        self.assertGreater(checked, 8)

    def test_a_body_that_is_no_json_object_creates_no_run(self):
        (create,) = (one for path, method, one in routes(resolved()) if (path, method) == ("/v1/runs", "post"))
        validators = next(iter(resources(resolved(), "AWS::ApiGateway::RestApi").values()))["Body"]
        chosen = validators["x-amazon-apigateway-request-validators"][create["x-amazon-apigateway-request-validator"]]
        self.assertTrue(chosen["validateRequestBody"])
        schema = create["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        self.assertEqual(schema, "#/components/schemas/newrun")
        self.assertEqual(validators["components"]["schemas"]["newrun"], {"type": "object"})

    def test_what_the_gateway_refuses_looks_like_an_answer_of_the_functions(self):
        catalogue = {
            code: title
            for code, title in re.findall(r'S::\w+,\s*"(\w+)",\s*"([^"]+)"', deployment.text("functions/api/src/problem.rs"))
        }
        self.assertGreater(len(catalogue), 20)
        answers = deployment.source()["Resources"]["Http"]["Properties"]["GatewayResponses"]
        for name, answer in answers.items():
            ((media_type, template),) = answer["ResponseTemplates"].items()
            self.assertEqual(media_type, "application/problem+json")
            # The gateway puts a text with its quotes there; the texts of other variables may hold quotes that nobody escapes.
            body = json.loads(template.replace("$context.error.messageString", '"x"'))
            self.assertLessEqual(set(re.findall(r"\$context\.[\w.]+", template)), SAFE, name)
            code = body["code"]
            self.assertEqual(body.get("status"), answer.get("StatusCode"), name)
            self.assertEqual(body["instance"], "$context.requestId", name)
            if code not in GATEWAY_ALONE | AUTHORIZERS:
                self.assertEqual(body["title"], catalogue[code], name)
            if answer.get("StatusCode") == 429:
                self.assertIn("Retry-After", answer["ResponseParameters"]["Headers"], name)
                self.assertIn("#quota-exceeded", body["type"])
            else:
                self.assertEqual(body["type"], f"https://skein.dev/problems/{code}", name)

    def test_answers_of_a_kilobyte_are_compressed(self):
        (api,) = resources(resolved(), "AWS::ApiGateway::RestApi").values()
        self.assertEqual(api["MinimumCompressionSize"], 1024)

    def test_the_firewall_counts_what_bodies_hold_and_blocks_the_rest(self):
        self.assertEqual(resources(resolved(), "AWS::WAFv2::WebACL"), {})
        (acl,) = resources(resolved(Firewall="on"), "AWS::WAFv2::WebACL").values()
        rates = [rule["Statement"]["RateBasedStatement"] for rule in acl["Rules"] if "RateBasedStatement" in rule["Statement"]]
        self.assertEqual([rate["Limit"] for rate in rates], [2000, "6000", "6000"])
        groups = [rule["Statement"].get("ManagedRuleGroupStatement") for rule in acl["Rules"]]
        groups = {group["Name"]: group["RuleActionOverrides"] for group in groups if group}
        self.assertEqual(
            set(groups),
            {"AWSManagedRulesCommonRuleSet", "AWSManagedRulesKnownBadInputsRuleSet", "AWSManagedRulesSQLiRuleSet"},
        )
        for overrides in groups.values():
            for override in overrides:
                self.assertTrue(override["Name"].endswith("_BODY"), override)


class UsagePlans(unittest.TestCase):
    PLANNED = {"UsagePlans": "on"}

    def test_without_them_nobody_stands_before_the_functions(self):
        template = resolved()
        for kind in ("AWS::ApiGateway::UsagePlan", "AWS::ApiGateway::ApiKey", "AWS::ApiGateway::UsagePlanKey"):
            self.assertEqual(resources(template, kind), {})
        for path, method, operation in routes(template):
            self.assertEqual(operation.get("security", []), [], f"{method} {path}")
        (api,) = resources(template, "AWS::ApiGateway::RestApi").values()
        self.assertEqual(api["ApiKeySourceType"], "HEADER")

    def test_with_them_every_route_of_a_tenant_wants_an_authorizer_and_a_key_of_a_plan(self):
        template = resolved(**self.PLANNED)
        (api,) = resources(template, "AWS::ApiGateway::RestApi").values()
        self.assertEqual(api["ApiKeySourceType"], "AUTHORIZER")
        schemes = api["Body"]["components"]["securitySchemes"]
        guarded = 0
        for path, method, operation in routes(template):
            is_open = path == "/{proxy+}" or path.startswith("/v1/admin/") or method == "options"
            security = operation.get("security", [])
            self.assertEqual(security == [], is_open, f"{method} {path}")
            for wanted in security:
                guarded += 1
                authorizer = "Followers" if path.endswith("/events") else "Keys"
                self.assertEqual(wanted, {authorizer: [], "Plan": []}, f"{method} {path}")
                self.assertLessEqual(set(wanted), set(schemes))
        self.assertGreater(guarded, 10)

    def test_an_answer_of_the_authorizer_is_kept_for_one_credential_and_30_seconds(self):
        (api,) = resources(resolved(**self.PLANNED), "AWS::ApiGateway::RestApi").values()
        schemes = api["Body"]["components"]["securitySchemes"]
        keys = schemes["Keys"]["x-amazon-apigateway-authorizer"]
        self.assertEqual(keys["identitySource"], "method.request.header.Authorization")
        self.assertEqual(keys["authorizerResultTtlInSeconds"], 30)
        followers = schemes["Followers"]["x-amazon-apigateway-authorizer"]
        self.assertEqual(followers["authorizerResultTtlInSeconds"], 0)
        for scheme in (keys, followers):
            self.assertIn("AuthorizerAliaslive}", scheme["authorizerUri"]["Fn::Sub"])

    def test_only_the_operators_function_changes_keys_of_the_gateway_and_only_with_plans(self):
        def may(template):
            return {
                name
                for name, role in resources(template, "AWS::IAM::Role").items()
                if "apigateway:" in json.dumps(role.get("Policies", []))
            }

        self.assertEqual(may(resolved()), set())
        self.assertEqual(may(resolved(**self.PLANNED)), {"AdminRole"})


class Data(unittest.TestCase):
    def test_production_cannot_be_deleted_by_accident(self):
        for stage, protected in (("dev", False), ("staging", False), ("prod", True)):
            (table,) = resources(resolved(Stage=stage, ReplicaRegion="eu-west-1"), "AWS::DynamoDB::GlobalTable").values()
            self.assertEqual(len(table["Replicas"]), 2)
            for replica in table["Replicas"]:
                self.assertEqual(replica["DeletionProtectionEnabled"], protected, stage)

    def test_every_copy_has_a_key_of_ones_own_when_one_is_asked_for(self):
        template = resolved(**EVERYTHING)
        (table,) = resources(template, "AWS::DynamoDB::GlobalTable").values()
        for replica in table["Replicas"]:
            self.assertIn("KMSMasterKeyId", replica["SSESpecification"])
        for name, bucket in resources(template, "AWS::S3::Bucket").items():
            (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
            self.assertEqual(rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"], "aws:kms", name)

    def test_payloads_have_versions_only_where_they_are_copied(self):
        self.assertNotIn("VersioningConfiguration", resources(resolved(), "AWS::S3::Bucket")["Payloads"])
        copied = resources(resolved(PayloadReplicaBucketArn="arn:aws:s3:::copies"), "AWS::S3::Bucket")["Payloads"]
        self.assertEqual(copied["VersioningConfiguration"], {"Status": "Enabled"})
        (expiry,) = (rule for rule in copied["LifecycleConfiguration"]["Rules"] if rule["Id"] == "expire-deleted")
        self.assertEqual(expiry["NoncurrentVersionExpiration"]["NoncurrentDays"], 7)


if __name__ == "__main__":
    unittest.main()
