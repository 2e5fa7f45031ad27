// One shared docker daemon, and a runner that uses it, in namespaces that are there already.
import * as pulumi from "@pulumi/pulumi";
import * as ci from "@pulumi/gitlab-runner-k8s";

const daemon = new ci.SharedDockerDaemon("builds", {
    namespace: "builds-docker",
    jobNamespace: "builds-jobs",
    nodeSelector: { pool: "builders" },
    volumeSize: "200Gi",
});

const runner = new ci.GitLabRunner("builds", {
    gitlabUrl: "https://gitlab.example.com",
    runnerToken: new pulumi.Config().requireSecret("runnerToken"),
    namespace: "builds",
    jobNamespace: "builds-jobs",
    concurrent: 8,
    docker: { host: daemon.dockerHost, clientSecretName: daemon.clientSecretName },
});

export const dockerHost = daemon.dockerHost;
export const releaseName = runner.releaseName;
