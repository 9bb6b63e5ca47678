{{- /*
What RBAC can't say: an operator that makes Deployments and PersistentVolumes is root on every node, and may change
what is not its own, unless its requests are held to the shape of what it needs. Each policy here looks at the
requests of the operator's service account alone.

Call with (dict "root" $ "subject" NAME "groups" [...] "resources" [...] "operations" [...]); the `variables` and
`validations` follow, then "---" and regkeeper.policyBinding.
*/}}
{{- define "regkeeper.policyHead" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ include "regkeeper.fullname" .root }}-{{ .subject }}
  labels:
    {{- include "regkeeper.labels" .root | nindent 4 }}
spec:
  failurePolicy: Fail
  matchConditions:
    - name: operator
      expression: request.userInfo.username == {{ include "regkeeper.username" .root | squote }}
  matchConstraints:
    resourceRules:
      {{- range .rules }}
      - apiGroups: [{{ .group | quote }}]
        apiVersions: ["*"]
        resources: [{{ .resources | join ", " }}]
        operations: [{{ $.operations | join ", " }}]
      {{- end }}
{{- end }}

{{- /*
A variable: what has no owner is ours by its label, or by an apply of the operator's that stands, as a label goes by
accident. Of what is being made, the managed fields show the very apply that is to be judged. Needs `subject`.
*/}}
{{- define "regkeeper.policyMark" -}}
- name: marked
  expression: >-
    has(variables.subject.metadata.labels) && 'regkeeper.dev/registry' in variables.subject.metadata.labels ||
    request.operation != 'CREATE' && has(oldObject.metadata.managedFields) &&
    oldObject.metadata.managedFields.exists(entry, entry.manager == 'regkeeper' && entry.operation == 'Apply')
{{- end }}

{{- define "regkeeper.policyBinding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ include "regkeeper.fullname" .root }}-{{ .subject }}
  labels:
    {{- include "regkeeper.labels" .root | nindent 4 }}
spec:
  policyName: {{ include "regkeeper.fullname" .root }}-{{ .subject }}
  validationActions: [Deny]
{{- end }}
