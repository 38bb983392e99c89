{{- define "sceau.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "sceau.selector" -}}
app.kubernetes.io/name: sceau
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sceau.labels" -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{ include "sceau.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "sceau.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "sceau.serviceAccount" -}}
{{- if .Values.serviceAccount.name }}{{ .Values.serviceAccount.name }}{{ else if .Values.serviceAccount.create }}{{ include "sceau.name" . }}{{ else }}default{{ end }}
{{- end }}

{{- define "sceau.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "sceau.mounts" -}}
- { name: config, mountPath: /etc/sceau, readOnly: true }
- { name: secrets, mountPath: /etc/sceau-secrets, readOnly: true }
{{- if .Values.tls.secretName }}
- { name: tls, mountPath: /etc/sceau-tls, readOnly: true }
{{- end }}
- { name: state, mountPath: /var/lib/sceau }
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
