// Command gitlab-runner is GitLab's runner with the Kubernetes executor, and its helper: all
// commands and drivers are the module's own. What no registry serves is named in absent/.
package main

import (
	"os"
	"path/filepath"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli"
	_ "gitlab.com/gitlab-org/gitlab-runner/cache/s3v2"
	"gitlab.com/gitlab-org/gitlab-runner/commands"
	"gitlab.com/gitlab-org/gitlab-runner/commands/helpers"
	"gitlab.com/gitlab-org/gitlab-runner/common"
	"gitlab.com/gitlab-org/gitlab-runner/executors"
	"gitlab.com/gitlab-org/gitlab-runner/executors/kubernetes"
	"gitlab.com/gitlab-org/gitlab-runner/helpers/homedir"
	"gitlab.com/gitlab-org/gitlab-runner/log"
	"gitlab.com/gitlab-org/gitlab-runner/network"
	"gitlab.com/gitlab-org/gitlab-runner/router"
	_ "gitlab.com/gitlab-org/gitlab-runner/shells"
)

func main() {
	if filepath.Base(os.Args[0]) == "gitlab-runner-keys" {
		if err := printKeys(); err != nil {
			logrus.Fatal(err)
		}
		return
	}
	providers := executors.NewProviderRegistry(map[string]common.ExecutorProvider{
		common.ExecutorKubernetes: kubernetes.NewProvider(),
	})
	requests := network.NewAPIRequestsCollector()
	certificates := commands.GetDefaultCertificateDirectory()
	client := router.NewClient(
		network.NewGitLabClient(
			network.WithAPIRequestsCollector(requests),
			network.WithCertificateDirectory(certificates),
			network.WithExecutorProviderFunc(providers.GetByName),
		),
		certificates,
		common.AppVersion.UserAgent(),
	)
	defer client.Shutdown()

	app := cli.NewApp()
	app.Name = filepath.Base(os.Args[0])
	app.Usage = "a GitLab Runner"
	app.Version = common.AppVersion.ShortLine()
	cli.VersionPrinter = common.AppVersion.Printer
	app.Commands = append(
		[]cli.Command{
			commands.NewListCommand(),
			commands.NewLintCommand(),
			commands.NewRegisterCommand(client, providers),
			commands.NewResetTokenCommand(client),
			commands.NewRunCommand(client, requests, providers),
			commands.NewRunSingleCommand(client, providers),
			commands.NewUnregisterCommand(client),
			commands.NewVerifyCommand(client),
			helpers.NewArtifactsDownloaderCommand(),
			helpers.NewArtifactsUploaderCommand(),
			helpers.NewCacheArchiverCommand(),
			helpers.NewCacheExtractorCommand(),
			helpers.NewCacheInitCommand(),
			helpers.NewHealthCheckCommand(),
			helpers.NewProbeURLCommand(),
			helpers.NewProxyExecCommand(),
			helpers.NewReadLogsCommand(),
			helpers.NewVerifyVersionCommand(),
		},
		commands.NewServiceCommands()...,
	)
	app.CommandNotFound = func(_ *cli.Context, command string) {
		logrus.Fatalln("Command", command, "not found.")
	}
	app.Before = func(*cli.Context) error { return homedir.New().Fix() }
	log.ConfigureLogging(app)
	if err := app.Run(os.Args); err != nil {
		logrus.Fatal(err)
	}
}
