{{/* The release's name may have dots and begin with a digit, the name of a Service may not. */}}
{{- define "regkeeper.fullname" -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- $name := contains .Chart.Name $release | ternary $release (printf "%s-%s" $release .Chart.Name) -}}
{{- if regexMatch "^[0-9]" $name -}}
{{- $name = printf "%s-%s" .Chart.Name $release -}}
{{- end -}}
{{ $name | trunc 50 | trimSuffix "-" }}
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

{{/* Where every pod of the release may run. */}}
{{- define "regkeeper.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end }}

{{/* Refuses what the schema can't see: a directory inside another one of the same node, whose users could put a symbolic link in its place. */}}
{{- define "regkeeper.checkLocalStorage" -}}
{{- range $inner := .Values.localStorage }}
{{- range $outer := $.Values.localStorage }}
{{- if hasPrefix (printf "%s/" $outer.path) $inner.path }}
{{- range $node := $inner.nodes }}
{{- if has $node $outer.nodes }}
{{- fail (printf "localStorage: on node %s, %s lies inside %s: who may write there could put a symbolic link in its place" $node $inner.path $outer.path) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
