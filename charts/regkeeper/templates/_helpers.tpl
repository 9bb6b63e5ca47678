{{- define "regkeeper.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "regkeeper.selectorLabels" -}}
app.kubernetes.io/name: regkeeper
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end }}

{{/* Labels of everything in the release. */}}
{{- define "regkeeper.labels" -}}
app.kubernetes.io/name: regkeeper
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "regkeeper.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* The operator's name for the API server's authorizer and for the admission policies. */}}
{{- define "regkeeper.username" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "regkeeper.fullname" . }}
{{- end }}

{{/* The `restricted` Pod Security Standard, for every pod of the release. */}}
{{- define "regkeeper.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "regkeeper.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Refuses what the schema can't see: a directory inside another one, whose users could put a symbolic link in its place. */}}
{{- define "regkeeper.checkLocalStorage" -}}
{{- range $inner := .Values.localStorage }}
{{- range $outer := $.Values.localStorage }}
{{- if hasPrefix (printf "%s/" $outer.path) $inner.path }}
{{- fail (printf "localStorage: %s lies inside %s: who may write there could put a symbolic link in its place" $inner.path $outer.path) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
