{{- define "gitlab-runner.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $chart := default .Chart.Name .Values.nameOverride -}}
{{- if hasPrefix $chart .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $chart | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "gitlab-runner.namespace" -}}
{{- default .Release.Namespace .Values.namespace -}}
{{- end -}}

{{- define "gitlab-runner.jobNamespace" -}}
{{- coalesce .Values.runners.jobNamespace .Values.namespace .Release.Namespace -}}
{{- end -}}

{{- /* Unset means "made whenever the Role is". */ -}}
{{- define "gitlab-runner.makesServiceAccount" -}}
{{- $create := .Values.serviceAccount.create -}}
{{- if kindIs "invalid" $create }}{{ $create = .Values.rbac.create }}{{ end -}}
{{- if $create }}true{{ end -}}
{{- end -}}

{{- define "gitlab-runner.serviceAccount" -}}
{{- if .Values.serviceAccount.name -}}
{{- .Values.serviceAccount.name -}}
{{- else if include "gitlab-runner.makesServiceAccount" . -}}
{{- include "gitlab-runner.fullname" . -}}
{{- else -}}
default
{{- end -}}
{{- end -}}

{{- define "gitlab-runner.tokenSecret" -}}
{{- if .Values.runners.secret -}}
{{- tpl .Values.runners.secret . -}}
{{- else -}}
{{- include "gitlab-runner.fullname" . -}}
{{- end -}}
{{- end -}}

{{- define "gitlab-runner.hasToken" -}}
{{- if or .Values.runners.secret .Values.runnerToken .Values.runnerRegistrationToken }}true{{ end -}}
{{- end -}}

{{- define "gitlab-runner.hasSecrets" -}}
{{- if or (include "gitlab-runner.hasToken" .) .Values.runners.cache.secretName .Values.secrets -}}
true
{{- end -}}
{{- end -}}

{{- define "gitlab-runner.configDirectory" -}}
{{- if eq (toString .Values.podSecurityContext.runAsUser) "0" -}}
/etc/gitlab-runner
{{- else -}}
/home/gitlab-runner/.gitlab-runner
{{- end -}}
{{- end -}}

{{- define "gitlab-runner.labels" -}}
app: {{ include "gitlab-runner.fullname" . }}
chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
release: {{ .Release.Name | quote }}
heritage: {{ .Release.Service | quote }}
{{- end -}}
