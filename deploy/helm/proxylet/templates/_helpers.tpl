{{- define "proxylet.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "proxylet.labels" -}}
{{ include "proxylet.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "proxylet.serviceAccount" -}}
{{ .Values.serviceAccount.name | default .Release.Name }}
{{- end }}

{{- /* config.conf: what is fixed here wins over the values. */}}
{{- define "proxylet.config" -}}
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
{{- $ours := dict "clientConnection" (dict "kubeconfig" "/etc/proxylet/kubeconfig.conf") }}
{{ mustMergeOverwrite (deepCopy .Values.config) $ours | toYaml }}
{{- end }}
